//! A serial port: a terminal device that is set raw, waited for with a limit, and left as it was.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{self, ControlModes, OptionalActions, QueueSelector, Termios};

use crate::error::{Error, OneLine, Reason};
use crate::interrupt;

/// Longest wait after which Ctrl-C is asked for.
const SLICE: Duration = Duration::from_millis(100);

/// An open serial port, which no other program opens meanwhile.
pub struct Port {
    device: OwnedFd,
    path: PathBuf,
    before: Termios,
}

impl Port {
    /// Opens a port and sets it raw: 8 bits, no parity, one stop bit, no flow control.
    ///
    /// # Errors
    /// [`Error::File`], which says what to do, if it cannot be opened, is no serial port, or has no
    /// such speed.
    pub fn open(path: &Path, baud: u32) -> Result<Self, Error> {
        let fail = |what: String| Error::File { path: path.into(), what };
        // A modem that has not called yet is not waited for.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| fail(why_not_open(path, errno)))?;
        let before = termios::tcgetattr(&device)
            .map_err(|_| fail("not a serial port; name one such as /dev/ttyACM0".into()))?;
        let cannot = |what: &str, errno: Errno| {
            fail(format!("cannot {what}: {}", Reason(&io::Error::from(errno))))
        };
        termios::ioctl_tiocexcl(&device).map_err(|errno| cannot("be had alone", errno))?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        raw.control_modes &= !(ControlModes::CSTOPB | ControlModes::CRTSCTS);
        let set = raw
            .set_speed(baud)
            .and_then(|()| termios::tcsetattr(&device, OptionalActions::Now, &raw));
        set.map_err(|errno| cannot(&format!("be set to {baud} baud"), errno))?;
        let port = Port { device, path: path.into(), before };
        // What came before is no answer to anything.
        termios::tcflush(&port.device, QueueSelector::IFlush)
            .map_err(|errno| cannot("be emptied", errno))?;
        Ok(port)
    }

    /// The port's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for bytes, and returns how many have come: 0 if none came in time.
    ///
    /// # Errors
    /// [`Error::Board`] if the port is gone, and [`Error::Interrupted`].
    pub fn read(&self, buffer: &mut [u8], until: Instant) -> Result<usize, Error> {
        while self.wait(PollFlags::IN, until)? {
            match rustix::io::read(&self.device, &mut *buffer) {
                Ok(0) => return Err(self.gone()),
                Ok(n) => return Ok(n),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Err(self.gone()),
            }
        }
        Ok(0)
    }

    /// Writes all of these bytes.
    ///
    /// # Errors
    /// [`Error::Board`] if they are not taken in time or the port is gone, and
    /// [`Error::Interrupted`].
    pub fn write(&self, mut bytes: &[u8], until: Instant) -> Result<(), Error> {
        while !bytes.is_empty() {
            if !self.wait(PollFlags::OUT, until)? {
                return Err(self.board_error("it takes nothing in; is a board connected?"));
            }
            match rustix::io::write(&self.device, bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Err(self.gone()),
            }
        }
        Ok(())
    }

    /// Waits until the port is ready; returns whether it is.
    fn wait(&self, flags: PollFlags, until: Instant) -> Result<bool, Error> {
        loop {
            interrupt::check()?;
            let left = until.saturating_duration_since(Instant::now());
            let slice = Timespec::try_from(left.min(SLICE)).unwrap_or_default();
            let mut ports = [PollFd::new(&self.device, flags)];
            match poll(&mut ports, Some(&slice)) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::INTR) => {}
                // Whatever is wrong with it, reading or writing tells.
                Ok(_) => return Ok(true),
                Err(_) => return Err(self.gone()),
            }
        }
    }

    fn gone(&self) -> Error {
        self.board_error("the port has gone; is the board still connected?")
    }

    /// Returns an error of the board at this port.
    pub(super) fn board_error(&self, what: impl Into<String>) -> Error {
        Error::Board { port: self.path.clone(), what: what.into() }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Fails only if the port is gone, which leaves nothing to be restored.
        let _ = termios::tcsetattr(&self.device, OptionalActions::Now, &self.before);
        let _ = termios::ioctl_tiocnxcl(&self.device);
    }
}

/// Returns why a port cannot be opened, and what to do.
fn why_not_open(path: &Path, errno: Errno) -> String {
    match errno {
        Errno::NOENT => no_such_port(&ports("/dev".as_ref())),
        Errno::ACCESS | Errno::PERM => {
            let (mode, gid) = fs::metadata(path)
                .map_or((0, 0), |metadata| (metadata.permissions().mode(), metadata.gid()));
            no_permission(mode, gid, &fs::read_to_string("/etc/group").unwrap_or_default())
        }
        Errno::BUSY => "in use by another program; end that first".into(),
        Errno::ISDIR => "not a serial port; name one such as /dev/ttyACM0".into(),
        _ => format!("cannot be opened: {}", Reason(&io::Error::from(errno))),
    }
}

/// Returns the names that boards on USB have in a folder of devices.
fn ports(devices: &Path) -> Vec<String> {
    let entries = fs::read_dir(devices).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.path().to_string_lossy().into_owned());
    let mut names: Vec<_> = names
        .filter(|name| ["/ttyACM", "/ttyUSB"].iter().any(|kind| name.contains(kind)))
        .collect();
    names.sort();
    names
}

fn no_such_port(ports: &[String]) -> String {
    match ports {
        [] => "no such port, and no board is on USB; connect one, or check its cable".into(),
        ports => format!("no such port; there are {}", OneLine(&ports.join(", "))),
    }
}

/// Returns what to do about a port that this user may not open; `groups` is `/etc/group`.
fn no_permission(mode: u32, gid: u32, groups: &str) -> String {
    const GROUP_MAY: u32 = 0o060;
    let group = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    });
    match group {
        // Nobody is told to join root's group.
        Some(name) if mode & GROUP_MAY == GROUP_MAY && gid != 0 => format!(
            "permission denied; join the group {0} (sudo usermod -aG {0} $USER), and log in again",
            OneLine(name)
        ),
        _ => "permission denied; its owner may let you (sudo chmod a+rw)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_open_a_port_is_told() {
        let groups = "root:x:0:\ndialout:x:20:mia\nplug dev\nuucp:x:986:\n";
        assert!(no_permission(0o20660, 20, groups).contains("usermod -aG dialout $USER"));
        assert!(no_permission(0o20660, 986, groups).contains("the group uucp "));
        for (mode, gid) in [(0o20600, 20), (0o20660, 0), (0o20660, 7)] {
            assert!(no_permission(mode, gid, groups).contains("chmod"), "{mode:o} {gid}");
        }
        assert!(no_permission(0o20660, 20, "").contains("permission denied"));
    }

    #[test]
    fn ports_that_there_are_are_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(no_such_port(&ports(folder.path())).contains("no board is on USB"));
        for name in ["ttyUSB1", "ttyACM0", "tty1", "null"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let told = no_such_port(&ports(folder.path()));
        assert!(told.contains("/ttyACM0, ") && told.ends_with("/ttyUSB1"), "{told}");
    }
}
