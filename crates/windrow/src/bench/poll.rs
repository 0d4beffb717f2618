//! Poll: epoll, bare, for the floors and the load that must cost as little as a loop can.
//!
//! **In** sockets with a token each. **Out** the tokens that are ready.
//! **Invariant:** level-triggered; a socket that is closed leaves by itself.

use std::{
    io,
    net::TcpStream,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT};

/// Events taken at once.
const EVENTS_MAX: usize = 512;

/// One epoll instance.
#[derive(Debug)]
pub(super) struct Poll(OwnedFd);

/// What one wait brought.
pub(super) struct Ready {
    events: [libc::epoll_event; EVENTS_MAX],
    len: usize,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the descriptor is new and nobody else's.
        match unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })),
        }
    }

    /// Starts to watch a socket for input.
    pub(super) fn add(&self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        self.control(EPOLL_CTL_ADD, socket, token, EPOLLIN)
    }

    /// Says whether room for output is waited for, too.
    pub(super) fn want_room(&self, socket: &impl AsRawFd, token: usize, room: bool) -> io::Result<()> {
        self.control(EPOLL_CTL_MOD, socket, token, if room { EPOLLIN | EPOLLOUT } else { EPOLLIN })
    }

    fn control(&self, op: i32, socket: &impl AsRawFd, token: usize, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: token as u64 };
        // SAFETY: both descriptors are open while they are borrowed; `event` outlives the call.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, socket.as_raw_fd(), &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until something is ready, at most so long; `None` = for ever.
    pub(super) fn wait(&self, ready: &mut Ready, longest: Option<Duration>) -> io::Result<()> {
        let ms = longest.map_or(-1, |d| i32::try_from(d.as_millis()).unwrap_or(i32::MAX));
        // SAFETY: the kernel writes at most `EVENTS_MAX` events into the array.
        let n =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), ready.events.as_mut_ptr(), EVENTS_MAX as i32, ms) };
        ready.len = usize::try_from(n).unwrap_or(0);
        match io::Error::last_os_error() {
            error if n < 0 && error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

impl Ready {
    pub(super) fn new() -> Self {
        Self { events: [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX], len: 0 }
    }

    /// Returns each ready token, whether it has room for output, and whether there is something to read.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (usize, bool, bool)> + use<> {
        let (events, len) = (self.events, self.len);
        (0..len).map(move |i| {
            let event = events[i];
            let flags = event.events.cast_signed();
            (event.u64 as usize, flags & EPOLLOUT != 0, flags & !EPOLLOUT != 0)
        })
    }
}

/// Writes several pieces with one call; tells how many bytes went out.
pub(super) fn write_pieces(socket: &TcpStream, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
    match pieces {
        [piece] => io::Write::write(&mut &*socket, piece),
        _ => io::Write::write_vectored(&mut &*socket, pieces),
    }
}

/// Lets this process open as many sockets as it may at all.
pub(super) fn raise_open_files() -> io::Result<u64> {
    crate::gateway::allow_open_files()
}
