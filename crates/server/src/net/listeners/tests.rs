//! Tests of listening sockets that are handed over to a successor.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process;

use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::net::handed_over::SocketDescription;
use crate::net::inherited::InheritedSocket;

#[tokio::test]
async fn a_successor_takes_the_sockets_of_equal_addresses_and_binds_the_others() {
    let predecessor = bind(&options(&["127.0.0.1:0", "127.0.0.1:0"])).unwrap();
    let successor = take_over(
        &options(&["127.0.0.1:0", "[::1]:0", "127.0.0.1:0", "127.0.0.1:0"]),
        &predecessor,
    );
    let (old, new) = (predecessor.ports(), successor.ports());
    assert_eq!([new[0], new[2]], [old[0], old[1]]);
    assert!(!old.contains(&new[1]) && !old.contains(&new[3]));
    assert_eq!(predecessor.admin_address(), successor.admin_address());
}

#[tokio::test]
async fn a_connection_in_the_backlog_of_the_predecessor_is_accepted_by_the_successor() {
    let predecessor = bind(&options(&["127.0.0.1:0"])).unwrap();
    let _client = TcpStream::connect(predecessor.ports()[0]).await.unwrap();
    let successor = take_over(&options(&["127.0.0.1:0"]), &predecessor);
    drop(predecessor);
    successor.public[0].accept().await.unwrap();
}

#[tokio::test]
async fn a_socket_that_the_successor_does_not_want_is_closed() {
    let predecessor = bind(&options(&["127.0.0.1:0"])).unwrap();
    let port = predecessor.ports()[0];
    let _successor = take_over(&options(&["[::1]:0"]), &predecessor);
    TcpStream::connect(port).await.unwrap();
    drop(predecessor);
    let error = TcpStream::connect(port).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_unix_socket_keeps_its_file_until_the_successor_ends() {
    let folder = Folder::new("kept");
    let options = folder.options();
    let predecessor = bind(&options).unwrap();
    let successor = take_over(&ListenOptions { unix_mode: 0o600, ..options }, &predecessor);
    predecessor.all().for_each(|(_, listener)| listener.leave_file());
    successor.own_files();
    drop(predecessor);
    for (name, listener) in
        [("public", &successor.public[0]), ("takeover", successor.takeover.as_ref().unwrap())]
    {
        let _client = UnixStream::connect(folder.path(name)).await.unwrap();
        listener.accept().await.unwrap();
        let file = fs::metadata(folder.path(name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
    drop(successor);
    assert!(!folder.path("public").exists() && !folder.path("takeover").exists());
}

#[tokio::test]
async fn a_successor_that_ends_before_the_commit_leaves_the_files_to_the_predecessor() {
    let folder = Folder::new("uncommitted");
    let predecessor = bind(&folder.options()).unwrap();
    drop(take_over(&folder.options(), &predecessor));
    let _client = UnixStream::connect(folder.path("public")).await.unwrap();
    predecessor.public[0].accept().await.unwrap();
    drop(predecessor);
    assert!(!folder.path("public").exists());
}

#[tokio::test]
async fn a_unix_socket_whose_file_was_removed_is_bound_anew() {
    let folder = Folder::new("removed");
    let predecessor = bind(&folder.options()).unwrap();
    fs::remove_file(folder.path("public")).unwrap();
    let successor = take_over(&folder.options(), &predecessor);
    drop(predecessor);
    let _client = UnixStream::connect(folder.path("public")).await.unwrap();
    successor.public[0].accept().await.unwrap();
}

#[tokio::test]
async fn sockets_that_the_predecessor_inherited_replace_the_addresses_of_the_successor() {
    let inherit = || {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), InheritedSocket::Tcp(socket))
    };
    let ((tls, first), (plain, second), (admin, third)) = (inherit(), inherit(), inherit());
    let inherited = InheritedSockets {
        public: vec![(first, true), (second, false)],
        admin: Some(third),
        are_for_another: false,
    };
    let options = options(&["127.0.0.1:0"]);
    let predecessor = Listeners::bind(&options, true, inherited, HandedOver::default()).unwrap();
    let handed_over = hand_over(&predecessor);
    let none = InheritedSockets::default();
    let successor = Listeners::bind(&options, true, none, handed_over).unwrap();
    assert_eq!(successor.addresses(), [format!("tls:{tls}"), plain.to_string()]);
    assert_eq!(successor.admin_address(), Some(admin.to_string()));
    assert!(successor.public.iter().all(|listener| listener.is_shared));
}

#[tokio::test]
async fn a_socket_for_ipv6_only_is_not_taken_for_both_families() {
    let any: ListenAddress = "[::]:0".parse().unwrap();
    let predecessor = Listener::bind(&any, 0, IpFamilies::Ipv6).unwrap();
    let address = predecessor.address();
    let description = SocketDescription {
        address: address.clone(),
        ..predecessor.describe(ListenerKind::Public)
    };
    let handed_over = HandedOver::new(vec![description], vec![duplicate(&predecessor)]).unwrap();
    let none = InheritedSockets::default();
    let bound = Listeners::bind(&options(&[&address]), false, none, handed_over);
    assert_eq!(bound.unwrap_err().error.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn what_is_no_listening_socket_is_refused_with_its_address() {
    let listeners = bind(&options(&["127.0.0.1:0"])).unwrap();
    let stream = TcpStream::connect(listeners.ports()[0]).await.unwrap();
    let (kind, listener) = listeners.all().next().unwrap();
    let description = listener.describe(kind);
    for (descriptor, problem) in [
        (duplicate(&stream), "does not listen"),
        (duplicate(&fs::File::open("/dev/null").unwrap()), "is no stream socket of TCP or Unix"),
    ] {
        let error = HandedOver::new(vec![description.clone()], vec![descriptor]).unwrap_err();
        assert_eq!(error.to_string(), format!("the socket handed over for 127.0.0.1:0 {problem}"));
    }
    let error = HandedOver::new(vec![description], Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[test]
fn a_description_of_another_version_may_have_more_fields_or_fewer() {
    let text = r#"{ "kind": "public", "address": "127.0.0.1:80", "later": 1 }"#;
    let description: SocketDescription = serde_json::from_str(text).unwrap();
    assert_eq!(description.kind, ListenerKind::Public);
    assert!(!description.is_encrypted && !description.is_shared && description.path.is_none());
}

fn options(addresses: &[&str]) -> ListenOptions {
    ListenOptions {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        unix_mode: 0o660,
        admin: Some("127.0.0.1:0".parse().unwrap()),
        takeover: None,
        socket_buffer_bytes: None,
    }
}

fn bind(options: &ListenOptions) -> Result<Listeners, BindError> {
    Listeners::bind(options, false, InheritedSockets::default(), HandedOver::default())
}

fn take_over(options: &ListenOptions, predecessor: &Listeners) -> Listeners {
    let handed_over = hand_over(predecessor);
    Listeners::bind(options, false, InheritedSockets::default(), handed_over).unwrap()
}

/// What arrives in the successor: the same sockets as further descriptors, and the descriptions as text.
fn hand_over(predecessor: &Listeners) -> HandedOver {
    let (descriptions, descriptors) = predecessor
        .all()
        .map(|(kind, listener)| {
            let text = serde_json::to_string(&listener.describe(kind)).unwrap();
            (serde_json::from_str(&text).unwrap(), duplicate(listener))
        })
        .unzip();
    HandedOver::new(descriptions, descriptors).unwrap()
}

fn duplicate(descriptor: &impl AsFd) -> OwnedFd {
    descriptor.as_fd().try_clone_to_owned().unwrap()
}

/// A folder for sockets, whose path is short enough for a socket address.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("ws-status-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn options(&self) -> ListenOptions {
        let address = format!("unix:{}", self.path("public").display());
        ListenOptions { takeover: Some(self.path("takeover")), ..options(&[&address]) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
