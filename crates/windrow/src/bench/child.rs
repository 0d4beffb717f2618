//! Child: a server in a process of its own, on a core of its own, for as long as a bench needs it.
//!
//! **In** arguments for this same binary. **Out** its process id.
//! **Invariant:** it never outlives the bench: dropping kills it, and so does the death of the bench.
//! **Not here:** what it serves.

use std::{
    io, mem,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub(super) struct Server(Child);

impl Server {
    /// Starts this binary with the arguments, on one core if one is given.
    pub(super) fn start(args: &[&str], core: Option<usize>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("find this binary")?);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        if std::env::var_os("RUST_LOG").is_none() {
            // What goes well is no line of a bench.
            command.env("RUST_LOG", "warn");
        }
        // SAFETY: between fork and exec only system calls happen, on memory of the child.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                core.map_or(Ok(()), pin_to_core)
            });
        }
        Ok(Self(command.spawn().context("start a server")?))
    }

    /// Waits until it listens on `port`.
    pub(super) fn listens(mut self, port: u16) -> Result<Self> {
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            self.alive()?;
            ensure!(
                Instant::now() < deadline,
                "the server does not listen on port {port} after {START_MAX:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(self)
    }

    /// Makes sure that it still runs.
    pub(super) fn alive(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            Some(status) => bail!("the server ended with {status}"),
            None => Ok(()),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a port that nobody listens on now.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Binds the calling thread, and what it starts, to one core.
pub(super) fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: the set is plain data, zeroed is empty, and it outlives the call.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, mem::size_of_val(&set), &set)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns a core for the server and one for the load, when there are two.
pub(super) fn two_cores() -> (Option<usize>, Option<usize>) {
    match std::thread::available_parallelism().map_or(1, |n| n.get()) {
        1 => (None, None),
        _ => (Some(0), Some(1)),
    }
}
