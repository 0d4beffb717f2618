//! Suites: one program, its output passed on line by line, its closing lines counted, its deadline kept.
//!
//! **In** a command and how long it may take. **Out** a [`Count`]. **Invariant:** a program that fails, or that is killed at its
//! deadline, never counts as fewer than one failure; the whole process group ends with it; it reads nothing from a terminal.
//! **Not here:** which programs there are (`test`).

use std::{
    io::{BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::count::Count;

/// How often a running program is asked whether it has ended.
const TICK: Duration = Duration::from_millis(50);

/// Runs a check: it holds (one passed) or it is an error.
pub(super) fn check(command: &mut Command, deadline: Duration) -> Result<Count> {
    let (status, _) = run(command, deadline)?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(Count::ok())
}

/// Runs a test runner and believes its closing lines, but not a silence or a bad exit code without a failed test.
pub(super) fn tests(command: &mut Command, deadline: Duration) -> Result<Count> {
    let (status, mut count) = run(command, deadline)?;
    if !status.success() && count.failed == 0 {
        println!("`{}` ended with {status}, and no closing line says why", shown(command));
        count += Count::broken();
    }
    if count.passed + count.failed == 0 {
        bail!("`{}` ran no test", shown(command));
    }
    Ok(count)
}

fn run(command: &mut Command, deadline: Duration) -> Result<(ExitStatus, Count)> {
    println!("$ {}", shown(command));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("`{}` does not start", shown(command)))?;
    let count = Arc::new(Mutex::new(Count::default()));
    let readers = [
        child.stdout.take().map(|pipe| relay(pipe, count.clone())),
        child.stderr.take().map(|pipe| relay(pipe, count.clone())),
    ];
    let ended = wait(&mut child, deadline);
    // Whatever the program left behind holds the pipes open; it ends here, with the program.
    kill_group(child.id());
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    let count = *count.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match ended? {
        Some(status) => Ok((status, count)),
        None => {
            println!("`{}` took longer than {} s and was killed", shown(command), deadline.as_secs());
            let status = child.wait().context("a killed program does not end")?;
            Ok((status, count))
        }
    }
}

/// Passes lines on as they come. Bytes that are not text are shown as replacement characters, not lost.
fn relay(pipe: impl Read + Send + 'static, count: Arc<Mutex<Count>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            *count.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += Count::of_line(&text);
            line.clear();
        }
    })
}

fn wait(child: &mut Child, deadline: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a program")? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(TICK);
    }
}

fn kill_group(id: u32) {
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).stderr(Stdio::null()).status();
}

fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_runner_that_dies_without_a_failed_test_is_one_failure() {
        let counted = tests(&mut sh("echo 'test result: ok. 3 passed; 0 failed; 0 ignored'; exit 101"), SOON);
        assert_eq!(counted.expect("counts"), Count { passed: 3, failed: 1, ignored: 0 });
    }

    #[test]
    fn a_runner_that_runs_nothing_is_an_error() {
        assert!(tests(&mut sh("true"), SOON).is_err());
    }

    #[test]
    fn a_program_past_its_deadline_is_killed_with_its_children() {
        let begun = Instant::now();
        assert!(check(&mut sh("sleep 600 & sleep 600"), Duration::from_millis(200)).is_err());
        assert!(begun.elapsed() < SOON, "took {:?}", begun.elapsed());
    }
}
