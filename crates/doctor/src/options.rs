//! `Options`: the command line.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use hyper::header::{HeaderName, HeaderValue};

use crate::client::Target;

/// What is examined, and how. The meanings are the text of `--help`.
#[expect(clippy::doc_markdown, reason = "URLs have no markup in the help")]
#[allow(rustdoc::bare_urls, reason = "the same; rustc does not know whether it is needed")]
#[derive(Clone, Debug, Parser)]
#[command(
    name = "doctor",
    version,
    about = "Finds out what is wrong between this machine and a WebSocket endpoint, and what to \
             change where",
    after_help = "Exit codes: 0 nothing worse than a note, 1 a warning, 2 the command line is wrong, \
                  3 a failure.",
    next_line_help = true,
    args_override_self = true
)]
pub struct Options {
    /// The endpoint, such as wss://status.example.com; the path is /ws/status if there is none
    #[arg(value_name = "URL")]
    pub target: Target,
    /// The origin of a page that has to be let in, such as https://app.example.com
    #[arg(long, value_parser = header_value)]
    pub origin: Option<String>,
    /// A header of each handshake, such as "Cookie: session=…"; it may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The URL of the server's admin listener, such as http://127.0.0.1:9090: what the server saw is compared
    #[arg(long, value_name = "URL", value_parser = admin)]
    pub admin: Option<Target>,
    /// A PEM file with further certificates that are trusted
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The local address to connect from
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,
    /// The longest time between two pings of the server; the admin listener knows it better
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub interval_secs: Duration,
    /// Keep a session open for so long, to find limits on the way
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub idle_secs: Option<Duration>,
    /// The time for each step
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout_secs: Duration,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Parses the arguments after the name of the program.
    ///
    /// # Errors
    ///
    /// clap's error, which is also the request for help or for the version.
    pub fn from_arguments(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from([OsString::from("doctor")].into_iter().chain(arguments))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it must be a number of seconds".to_owned())?;
    if seconds > 0.0 && seconds <= 86_400.0 {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err("it must be above 0, and at most 86400".to_owned())
}

fn admin(text: &str) -> Result<Target, String> {
    let target: Option<Target> = text.parse().ok();
    let target = target.filter(|target| !target.is_tls);
    target.ok_or_else(|| "it must be a URL such as http://127.0.0.1:9090".to_owned())
}

/// A header that cannot end the head of the request.
fn header(text: &str) -> Result<(String, String), String> {
    let problem = || "it must be a header, such as \"Cookie: session=1\"".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(problem)?;
    let value = value.trim();
    HeaderName::try_from(name).map_err(|_| problem())?;
    HeaderValue::try_from(value).map_err(|_| problem())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn header_value(text: &str) -> Result<String, String> {
    HeaderValue::try_from(text).map_err(|_| "it must be an origin".to_owned())?;
    Ok(text.to_owned())
}
