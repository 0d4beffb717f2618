//! Meter: what some work cost a process: wall time, CPU time, memory.
//!
//! **In** the start and the end of the work, in this process or a child. **Out** a [`Cost`].
//! **Invariant:** CPU time is that of all threads, in user and kernel, to the nanosecond; peak memory is that of the work,
//! not of what came before it.
//! **Not here:** how it is shown (`report`).

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// What some work cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) peak_rss_bytes: u64,
}

impl Cost {
    /// Adds what more work cost.
    pub(super) fn add(&mut self, other: &Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.peak_rss_bytes = self.peak_rss_bytes.max(other.peak_rss_bytes);
    }
}

/// A running measurement.
#[derive(Debug)]
pub(super) struct Meter {
    pid: u32,
    started: Instant,
    cpu: Duration,
}

impl Meter {
    /// Starts to measure this process.
    pub(super) fn own() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// Starts to measure a process.
    pub(super) fn of(pid: u32) -> Result<Self> {
        // 5 = forget the peak of the resident memory. Where that is not allowed, the peak is of the whole run.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        Ok(Self { pid, started: Instant::now(), cpu: cpu_time(pid)? })
    }

    /// Returns the time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns what the process used since the start.
    pub(super) fn stop(&self) -> Result<Cost> {
        let wall = self.started.elapsed();
        let cpu = cpu_time(self.pid)?.saturating_sub(self.cpu);
        Ok(Cost { wall, cpu, peak_rss_bytes: status_bytes(self.pid, "VmHWM:")? })
    }
}

/// Reads a process' CPU clock.
fn cpu_time(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls only write to the place they are given.
    let failed = unsafe {
        libc::clock_getcpuclockid(libc::pid_t::try_from(pid)?, &mut clock) != 0
            || libc::clock_gettime(clock, &mut time) != 0
    };
    ensure!(!failed, "process {pid} has no CPU clock: it has ended");
    Ok(Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?))
}

/// Reads one line of `/proc/<pid>/status` that is in kB.
pub(super) fn status_bytes(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read the state of a process")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("process {pid} has no {name}"))? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_time_and_memory() {
        let meter = Meter::own().unwrap();
        let mut pages = vec![1_u8; 64 << 20];
        let mut rounds = 0_u8;
        while meter.stop().unwrap().cpu < Duration::from_millis(2) {
            rounds = rounds.wrapping_add(1);
            pages.fill(rounds);
        }
        let cost = meter.stop().unwrap();
        assert!(cost.peak_rss_bytes > 64 << 20 && cost.wall > Duration::ZERO, "{cost:?}");
    }
}
