//! The floor on tokio: `peer-tokio-floor PORT PING_INTERVAL`.
//!
//! It does with input what `peer-floor` does, in a task for each connection: one read and one write for
//! each readiness event, without pings, deadlines and everything else. No server on tokio can be much
//! faster. What it costs above `peer-floor` is the price of tokio. It is a baseline for measurements, and
//! not for deployment.

use std::io;

use bench::floor::FloorInput;
use bench::peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> io::Result<()> {
    peer::serve(|stream, _| serve(stream)).await
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut input = FloorInput::default();
    let (mut buffer, mut output) = (vec![0; 1 << 16], Vec::new());
    loop {
        let kept = input.take_partial(&mut buffer);
        let count = stream.read(&mut buffer[kept..]).await?;
        let stays_open = count > 0 && input.process(&buffer[..kept + count], &mut output);
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
        if !stays_open {
            return Ok(());
        }
    }
}
