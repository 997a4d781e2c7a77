//! The exit code of a failed `main`. It sets the global log subscriber, so it is the only test here.

use std::ffi::OsString;
use std::process::ExitCode;

use server::transport::Discard;

#[test]
fn a_panic_while_creating_the_handler_is_exit_code_1() {
    let flags = ["--listen=127.0.0.1:0", "--max-connections=10"].map(OsString::from);
    let code = server::main(flags, || -> Discard { panic!("no database") });
    assert_eq!(code, ExitCode::FAILURE);
}
