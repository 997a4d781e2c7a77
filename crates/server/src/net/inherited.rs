//! Listening sockets that whoever started the process has passed to it (`sd_listen_fds(3)`).

use std::env;
use std::fmt;
use std::net;
use std::os::fd::AsFd;
use std::os::unix;
use std::process;

use listenfd::ListenFd;
#[cfg(not(target_vendor = "apple"))]
use rustix::net::sockopt;

/// Sockets that were passed, by what their names in `LISTEN_FDNAMES` say: the one named `admin`, those
/// named `tls`, and those for clients without TLS.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    pub(crate) public: Vec<(InheritedSocket, bool)>,
    pub(crate) admin: Option<InheritedSocket>,
    /// Whether there are sockets for a process that is not this one.
    pub(crate) are_for_another: bool,
}

#[derive(Debug)]
pub(crate) enum InheritedSocket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

impl InheritedSockets {
    /// Takes what the environment says was passed, in `LISTEN_FDS` and `LISTEN_FDNAMES`. What is for
    /// another process, by `LISTEN_PID`, is left alone.
    ///
    /// # Errors
    ///
    /// Something was passed that cannot be served, or the variables contradict each other.
    pub fn from_env() -> Result<Self, InheritError> {
        let Some(count) = variable("LISTEN_FDS")? else { return Ok(Self::default()) };
        let count: u16 = count.parse().map_err(|_| {
            InheritError(format!(
                "LISTEN_FDS is {count:?}, and must be the number of sockets passed"
            ))
        })?;
        if let Some(pid) = variable("LISTEN_PID")? {
            let pid: u32 = pid.parse().map_err(|_| {
                InheritError(format!("LISTEN_PID is {pid:?}, and must be the number of a process"))
            })?;
            if pid != process::id() {
                return Ok(Self { are_for_another: count > 0, ..Self::default() });
            }
        }
        let names = match variable("LISTEN_FDNAMES")? {
            Some(names) if count > 0 => names.split(':').map(str::to_owned).collect(),
            _ => vec![String::new(); count.into()],
        };
        if names.len() != usize::from(count) {
            return Err(InheritError(format!(
                "LISTEN_FDNAMES has {} names for the {count} sockets of LISTEN_FDS",
                names.len()
            )));
        }
        let mut descriptors = ListenFd::from_env();
        let mut passed = Self::default();
        for (index, name) in names.into_iter().enumerate() {
            let refuse = |problem| {
                InheritError(format!(
                    "LISTEN_FDS passes a socket {name:?} (number {index}) that {problem}"
                ))
            };
            let socket = InheritedSocket::take(&mut descriptors, index).map_err(refuse)?;
            match name.as_str() {
                "admin" if passed.admin.is_some() => {
                    return Err(refuse("is a second admin listener, and there can be only one"));
                }
                "admin" => passed.admin = Some(socket),
                "tls" => passed.public.push((socket, true)),
                // systemd names a socket after its unit if `FileDescriptorName=` is not set.
                "" | "public" | "unknown" => passed.public.push((socket, false)),
                unit if unit.ends_with(".socket") => passed.public.push((socket, false)),
                _ => {
                    let sentence = "has a name without a meaning here; it must be admin, tls or \
                                    public, or that of a .socket unit";
                    return Err(refuse(sentence));
                }
            }
        }
        Ok(passed)
    }
}

impl InheritedSocket {
    /// The error says what is wrong with it.
    fn take(descriptors: &mut ListenFd, index: usize) -> Result<Self, &'static str> {
        let socket = match descriptors.take_tcp_listener(index) {
            Ok(Some(listener)) => Self::Tcp(listener),
            Ok(None) | Err(_) => match descriptors.take_unix_listener(index) {
                Ok(Some(listener)) => Self::Unix(listener),
                Ok(None) | Err(_) => return Err("is no stream socket of TCP or Unix"),
            },
        };
        let listens = match &socket {
            Self::Tcp(listener) => listens(listener),
            Self::Unix(listener) => listens(listener),
        };
        if listens {
            Ok(socket)
        } else {
            Err("does not listen; it may be a connection, which systemd passes with Accept=yes")
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn listens(socket: impl AsFd) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// There the system does not tell, and there is no systemd.
#[cfg(target_vendor = "apple")]
fn listens(_: impl AsFd) -> bool {
    true
}

/// An empty one is as good as none.
fn variable(name: &str) -> Result<Option<String>, InheritError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(InheritError(format!("{name} is not UTF-8"))),
    }
}

/// What was passed and cannot be served, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InheritError(String);

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InheritError {}
