//! Listening sockets that the predecessor process hands over, and what each of them is for.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::net::address::ListenAddress;
use crate::net::inherited::InheritedSocket;
use crate::net::unix_socket::SocketFile;

/// The address in the description of a socket that the predecessor inherited.
pub(crate) const INHERITED: &str = "inherited";

/// Listening sockets that the predecessor has handed over. Those that are not taken are closed with this.
#[derive(Debug, Default)]
pub struct HandedOver {
    sockets: Vec<(SocketDescription, InheritedSocket)>,
}

/// What a listening socket is for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SocketDescription {
    pub(crate) kind: ListenerKind,
    /// The address as it is configured, so with port 0 if the system chose the port; or [`INHERITED`].
    pub(crate) address: String,
    /// Whether connections use TLS.
    #[serde(default)]
    pub(crate) is_encrypted: bool,
    /// Whether another process than the predecessor has the socket, too, which is the service manager.
    #[serde(default)]
    pub(crate) is_shared: bool,
    /// The file of a Unix socket, if it exists and was created by the predecessor or one before it.
    #[serde(default)]
    pub(crate) path: Option<PathBuf>,
}

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListenerKind {
    /// Operators.
    Admin,
    /// Clients.
    Public,
    /// A successor process.
    Takeover,
}

impl ListenerKind {
    /// Returns the key of the setting with the address.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Admin => "admin_listen",
            Self::Public => "listen",
            Self::Takeover => "takeover_listen",
        }
    }
}

impl HandedOver {
    /// Pairs the descriptions with the descriptors.
    ///
    /// # Errors
    ///
    /// `InvalidData`: there are more of one than of the other, or a descriptor is no listening stream socket of
    /// TCP or Unix.
    pub(crate) fn new(
        descriptions: Vec<SocketDescription>,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        if descriptions.len() != descriptors.len() {
            let (sockets, described) = (descriptors.len(), descriptions.len());
            let sentence =
                format!("{sockets} listening sockets were handed over, and {described} described");
            return Err(io::Error::new(ErrorKind::InvalidData, sentence));
        }
        let pairs = descriptions.into_iter().zip(descriptors);
        let sockets = pairs.map(|(description, descriptor)| {
            let socket = InheritedSocket::from_descriptor(descriptor).map_err(|problem| {
                let address = &description.address;
                let sentence = format!("the socket handed over for {address} {problem}");
                io::Error::new(ErrorKind::InvalidData, sentence)
            })?;
            Ok((description, socket))
        });
        Ok(Self { sockets: sockets.collect::<io::Result<_>>()? })
    }

    /// Takes a socket for a configured address.
    pub(crate) fn take(
        &mut self,
        kind: ListenerKind,
        address: &ListenAddress,
    ) -> Option<(SocketDescription, InheritedSocket)> {
        self.take_first(kind, &address.to_string())
    }

    /// Takes the next of the sockets that the predecessor inherited, and tells whether it uses TLS.
    pub(crate) fn take_inherited(&mut self, kind: ListenerKind) -> Option<(InheritedSocket, bool)> {
        let (description, socket) = self.take_first(kind, INHERITED)?;
        Some((socket, description.is_encrypted))
    }

    /// Closes the sockets that were not taken. Returns their files.
    pub(crate) fn into_unused_files(self) -> Vec<SocketFile> {
        let paths = self.sockets.iter().filter_map(|(description, _)| description.path.as_deref());
        paths.filter_map(SocketFile::of_unused).collect()
    }

    fn take_first(
        &mut self,
        kind: ListenerKind,
        address: &str,
    ) -> Option<(SocketDescription, InheritedSocket)> {
        let is_it = |(it, _): &(SocketDescription, _)| it.kind == kind && it.address == address;
        let index = self.sockets.iter().position(is_it)?;
        Some(self.sockets.remove(index))
    }
}
