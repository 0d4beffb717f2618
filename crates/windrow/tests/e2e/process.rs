//! The binary as a child process: started, asked, killed, waited for.
//!
//! **Invariant:** no child outlives its test; every wait has a deadline and tells what the child said when it passes.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest wait for anything a child should do on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) struct Windrow {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Windrow {
    /// Starts `windrow ARGUMENTS` with these variables.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: &[S], variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windrow"));
        command.args(arguments).envs(variables.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null());
        Self::spawn(&mut command)
    }

    /// The same, with something to read: it gets that and then the end.
    pub(crate) fn fed<S: AsRef<OsStr>>(arguments: &[S], variables: &[(&str, String)], input: String) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windrow"));
        command.args(arguments).envs(variables.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::piped());
        let mut process = Self::spawn(&mut command);
        let mut stdin = process.child.stdin.take().expect("piped");
        // A child that is gone hears nothing; its end tells why.
        std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        process
    }

    fn spawn(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let said = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take(), &said);
        listen(child.stderr.take(), &said);
        Self { child, said }
    }

    /// Runs it to its end, which must be a success; returns what it said.
    pub(crate) fn run<S: AsRef<OsStr>>(arguments: &[S], variables: &[(&str, String)]) -> String {
        let mut child = Self::start(arguments, variables);
        let status = child.wait();
        assert!(status.success(), "it ended with {status}:\n{}", child.said());
        child.said()
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "it still runs after {DEADLINE:?}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets it run for `time`, or to its end if that comes first; tells whether it ended.
    pub(crate) fn lives_for(&mut self, time: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// `kill -9`: no farewell.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM: it should drain and end. Before its handler stands the system would end it, and nothing would be proven.
    pub(crate) fn terminate(&self) {
        let end = Instant::now() + DEADLINE;
        while !self.catches(libc::SIGTERM) {
            assert!(Instant::now() < end, "it never learned to drain");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.signal(libc::SIGTERM);
    }

    /// Whether it has a handler for a signal; also when it has ended, where there is nothing left to wait for.
    fn catches(&self, signal: i32) -> bool {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", self.pid())) else { return true };
        let Some(caught) = status.lines().find_map(|line| line.strip_prefix("SigCgt:")) else { return true };
        let zombie = status.lines().any(|line| line.starts_with("State:\tZ"));
        zombie || u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal - 1)) != 0
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: plain system call on our own child, which is not reaped yet.
        unsafe { libc::kill(self.pid(), signal) };
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Tells how it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Windrow {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the process said:\n{}", self.said());
        }
    }
}

fn listen(pipe: Option<impl Read + Send + 'static>, said: &Arc<Mutex<String>>) {
    let (pipe, said) = (pipe.expect("piped"), said.clone());
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
}

/// A port that was free a moment ago, and that nobody else gets: each is given once by a process, whose ports begin where another's do
/// not, and below those that systems give to clients and to port 0. So it is there again for a server that was killed.
pub(crate) fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 10_000..30_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(127);
    for _ in PORTS {
        let place = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = (PORTS.start + place) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {} to {} is free", PORTS.start, PORTS.end);
}

/// What `cargo xtask test` sets up, by name of the variable.
pub(crate) fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run `cargo xtask test rust`"))
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
