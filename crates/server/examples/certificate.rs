//! Generates a self-signed certificate for `localhost`, to try TLS:
//!
//! ```sh
//! cargo run -p server --example certificate -- FOLDER
//! ```
//!
//! It writes `cert.pem` and `key.pem` to the folder.
#![expect(clippy::print_stderr, reason = "a command-line program")]

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use rcgen::{CertifiedKey, generate_simple_self_signed};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or("usage: certificate FOLDER")?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("cert.pem"), cert.pem())?;
    fs::write(folder.join("key.pem"), signing_key.serialize_pem())?;
    eprintln!("wrote cert.pem and key.pem to {}", folder.display());
    Ok(())
}
