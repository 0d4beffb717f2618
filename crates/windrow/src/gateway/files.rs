//! Open files: each connection is one, and many systems allow a process 1,024 unless it asks for more.
//!
//! **Invariant:** asking for more never fails the start; what is missing is told.

/// Files that a process holds beside its connections: the log's, the listeners', the broker's.
const OTHERS: u64 = 512;

/// Asks for as many open files as the system allows, and says when that is less than the listeners may need.
pub(super) fn prepare(connections_max: usize) {
    let wanted = (connections_max as u64).saturating_add(OTHERS);
    match allow_open_files() {
        // Past it, accepting pauses and tries again; new connections wait in the system's queue meanwhile.
        Ok(allowed) if allowed < wanted => {
            tracing::debug!(allowed, wanted, "fewer files may be open than connections are allowed");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

/// Raises this process's limit of open files to what the system allows, and returns it.
pub(crate) fn allow_open_files() -> std::io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes the structure that it is given, which lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: setrlimit only reads the structure that it is given.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}
