//! Sends sequences of HTTP/2 frames to the whole server, over a Unix socket, most of them nearly valid:
//! handshakes, WebSocket frames, resets, windows, in any order and at any time.
//!
//! Whatever a client does, the server answers with valid frames, opens no more sessions than it may, ends
//! all of them with the connection, and has all of its permits for the next one.

mod client;
mod server;
mod steps;
mod wire;

use arbitrary::{Result, Unstructured};

use self::client::Client;
use self::server::{MAX_CONNECTIONS, RunningServer, block_on, settle};
use self::steps::step;
use self::wire::{CONNECT, PREFACE};

/// The most steps. More take time, and reach no further code.
const MAX_STEPS: usize = 100;

/// Runs the server with a client that does what the input says, and checks what is left of it.
///
/// # Panics
///
/// If the server violates what the module promises.
pub fn run(data: &[u8]) {
    block_on(async {
        let mut input = Unstructured::new(data);
        let Ok(setup) = input.arbitrary::<u8>() else { return };
        let server = RunningServer::start((setup & 7).into());
        let mut client = Client::new(server.connect().await, setup & 8 != 0);
        if setup & 16 == 0 {
            client.send(PREFACE);
        }
        // After an error the input has ended.
        let _ = converse(&mut client, &server, &mut input).await;
        drop(client);
        settle().await;
        assert_eq!(server.sessions(), 0, "the sessions end with their connection");
        check_permits(&server).await;
        let summary = server.stop().await;
        assert_eq!((summary.aborted, summary.failed), (0, None), "{summary:?}");
    });
}

async fn converse(
    client: &mut Client,
    server: &RunningServer,
    input: &mut Unstructured<'_>,
) -> Result<()> {
    for _ in 0..MAX_STEPS {
        // After its end, the input would yield zeros without limit.
        if input.is_empty() {
            break;
        }
        step(client, input).await?;
        assert!(server.sessions() <= MAX_CONNECTIONS, "each session has a permit");
    }
    settle().await;
    client.receive();
    client.check();
    Ok(())
}

/// Checks that as many sessions can be opened as the limit allows, and no more.
async fn check_permits(server: &RunningServer) {
    let mut client = Client::new(server.connect().await, true);
    client.send(PREFACE);
    client.send_frame(wire::SETTINGS, 0, 0, &[]);
    for _ in 0..=MAX_CONNECTIONS {
        client.request(&CONNECT);
    }
    settle().await;
    client.receive();
    assert_eq!(client.successes(), MAX_CONNECTIONS, "all permits were returned");
    assert_eq!(server.sessions(), MAX_CONNECTIONS, "a session for each permit");
    drop(client);
    settle().await;
}
