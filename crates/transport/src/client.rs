//! The client of an accepted connection.

use std::sync::Arc;

use crate::drain::DrainToken;
use crate::peer::Peer;

/// The properties of an accepted connection. The [front page](crate#an-endpoint) has an example.
#[derive(Clone, Debug)]
pub struct Client {
    /// The peer as the caller knows it. The endpoint passes it to the observer and to
    /// [`Admit`](crate::Admit).
    pub peer: Peer,
    /// Whether the connection to this process uses TLS. If so, the server's own origin is `https`.
    pub is_encrypted: bool,
    /// The name in the client's verified TLS certificate, for [`Admit`](crate::Admit); `None` if it sent
    /// none.
    pub certificate_name: Option<Arc<str>>,
    /// The connection's token of the drain. A session clones it before the response is sent.
    pub token: DrainToken,
}
