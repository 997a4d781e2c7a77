//! A certificate for `localhost` that nobody trusts, to try TLS with:
//!
//! ```sh
//! cargo run -p server --example certificate -- FOLDER
//! ```
//!
//! It writes `cert.pem` and `key.pem` there.
#![expect(clippy::print_stderr, reason = "a program for people at a terminal")]

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use rcgen::{CertifiedKey, generate_simple_self_signed};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or("name a folder")?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("cert.pem"), cert.pem())?;
    fs::write(folder.join("key.pem"), signing_key.serialize_pem())?;
    eprintln!("wrote cert.pem and key.pem to {}", folder.display());
    Ok(())
}
