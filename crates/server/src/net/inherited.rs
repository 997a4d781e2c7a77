//! Listening sockets inherited from the service manager (`sd_listen_fds(3)`).

use std::env;
use std::fmt;
use std::net;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix;
use std::process;

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};

/// Inherited listening sockets. Their names in `LISTEN_FDNAMES` say what they are for: `admin`, `tls`,
/// or clients without TLS.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// The sockets for clients, and whether they use TLS.
    pub(crate) public: Vec<(InheritedSocket, bool)>,
    pub(crate) admin: Option<InheritedSocket>,
    /// Whether `LISTEN_PID` names another process, and there are sockets for it.
    pub(crate) are_for_another: bool,
}

#[derive(Debug)]
pub(crate) enum InheritedSocket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

impl InheritedSockets {
    /// Takes the sockets that `LISTEN_FDS` and `LISTEN_FDNAMES` describe. Sockets for another process,
    /// by `LISTEN_PID`, are not touched.
    ///
    /// # Errors
    ///
    /// A variable is invalid or contradicts another, or a socket cannot be served: it does not listen,
    /// is not a stream socket, or has an unknown name.
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
        let mut inherited = Self::default();
        for (index, name) in names.into_iter().enumerate() {
            let refuse = |problem| {
                InheritError(format!(
                    "LISTEN_FDS passes a socket {name:?} (number {index}) that {problem}"
                ))
            };
            let socket = InheritedSocket::take(&mut descriptors, index).map_err(refuse)?;
            match name.as_str() {
                "admin" if inherited.admin.is_some() => {
                    return Err(refuse("is a second admin listener, and there can be only one"));
                }
                "admin" => inherited.admin = Some(socket),
                "tls" => inherited.public.push((socket, true)),
                // systemd names a socket after its unit if `FileDescriptorName=` is not set.
                "" | "public" | "unknown" => inherited.public.push((socket, false)),
                unit if unit.ends_with(".socket") => inherited.public.push((socket, false)),
                _ => {
                    let sentence = "has a name without a meaning here; it must be admin, tls or \
                                    public, or that of a .socket unit";
                    return Err(refuse(sentence));
                }
            }
        }
        Ok(inherited)
    }
}

impl InheritedSocket {
    /// Takes the descriptor at `index`. The error completes the sentence "a socket that ...".
    fn take(descriptors: &mut ListenFd, index: usize) -> Result<Self, &'static str> {
        let socket = match descriptors.take_tcp_listener(index) {
            Ok(Some(listener)) => Self::Tcp(listener),
            Ok(None) | Err(_) => match descriptors.take_unix_listener(index) {
                Ok(Some(listener)) => Self::Unix(listener),
                Ok(None) | Err(_) => return Err("is no stream socket of TCP or Unix"),
            },
        };
        if socket.listens() {
            Ok(socket)
        } else {
            Err("does not listen; it may be a connection, which systemd passes with Accept=yes")
        }
    }

    /// Finds out the kind of a socket. The error completes the sentence "the socket ...".
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> Result<Self, &'static str> {
        let family = getsockname(&descriptor).map(|address| address.address_family());
        let socket = match (sockopt::socket_type(&descriptor), family) {
            (Ok(SocketType::STREAM), Ok(AddressFamily::INET | AddressFamily::INET6)) => {
                Self::Tcp(descriptor.into())
            }
            (Ok(SocketType::STREAM), Ok(AddressFamily::UNIX)) => Self::Unix(descriptor.into()),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => return Err("is no stream socket of TCP or Unix"),
        };
        if socket.listens() { Ok(socket) } else { Err("does not listen") }
    }

    fn listens(&self) -> bool {
        match self {
            Self::Tcp(listener) => listens(listener),
            Self::Unix(listener) => listens(listener),
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn listens(socket: impl AsFd) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// `SO_ACCEPTCONN` is not available on Apple systems, which have no systemd.
#[cfg(target_vendor = "apple")]
fn listens(_: impl AsFd) -> bool {
    true
}

/// Reads an environment variable. An empty one counts as unset.
fn variable(name: &str) -> Result<Option<String>, InheritError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(InheritError(format!("{name} is not UTF-8"))),
    }
}

/// The error of taking inherited sockets, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InheritError(String);

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InheritError {}
