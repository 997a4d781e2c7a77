//! The exit code of a process that failed. It sets the log of the process, so it is alone here.

use std::ffi::OsString;
use std::process::ExitCode;

use server::transport::Discard;

#[test]
fn a_handler_that_cannot_be_made_is_exit_code_1() {
    let flags = ["--listen=127.0.0.1:0", "--max-connections=10"].map(OsString::from);
    let code = server::main(flags, || -> Discard { panic!("there is no database") });
    assert_eq!(code, ExitCode::FAILURE);
}
