//! Certificates and keys of all kinds: the accepted ones, and the errors for the others.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use server::{Command, Config};
use support::process::Process;
use support::process::{documented, fields, server};
use support::tls::{Files, certificate, client_config, connect, exchange_ping, upgrade};

/// Reads a test certificate or key; the README beside them describes each.
fn specimen(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificate_kinds");
    fs::read(folder.join(format!("{name}.pem"))).unwrap()
}

/// Checks a configuration with these files.
fn check(files: &Files, cert: &[u8], key: &[u8], ca: Option<&[u8]>) -> Result<Config, String> {
    fs::write(files.path("cert.pem"), cert).unwrap();
    fs::write(files.path("key.pem"), key).unwrap();
    let mut flags = files.flags();
    if let Some(ca) = ca {
        fs::write(files.path("ca.pem"), ca).unwrap();
        flags.push(format!("--tls-client-ca-file={}", files.path("ca.pem")));
    }
    let Command::Serve(settings, _) = Command::parse(flags.iter().map(OsString::from), []).unwrap()
    else {
        panic!()
    };
    Config::check(settings, 20_000).map_err(|error| error.to_string())
}

#[test]
fn an_invalid_file_is_named_with_its_error_and_the_requirement() {
    let files = Files::new("kinds");
    let [ec, ec_key] = ["ec.cert", "ec.key"].map(specimen);
    let (other, _) = certificate(|_| {});
    let chain = [other.as_bytes(), &ec].concat();
    let der = CertificateDer::from_pem_slice(&ec).unwrap().to_vec();
    let key_der = PrivateKeyDer::from_pem_slice(&ec_key).unwrap().secret_der().to_vec();
    let csr = b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let damaged = String::from_utf8(ec.clone()).unwrap().replace("MII", "M!!");
    let damaged_key = String::from_utf8(ec_key.clone()).unwrap().replace("MH", "M!");
    let expect = |cert: &[u8], key: &[u8], setting: &str, expected: &str| {
        let message = check(&files, cert, key, None).unwrap_err();
        let path = files.path(&format!("{setting}.pem"));
        let setting = format!("tls_{setting}_file is {path:?} in the flag --tls-{setting}-file");
        assert_eq!(message, format!("{setting}: {expected}"));
    };
    let of_cert = |cert: &[u8], expected: &str| expect(cert, &ec_key, "cert", expected);
    let must = "it must hold certificates in PEM, but";
    of_cert(b"", &format!("{must} it is empty"));
    of_cert(b"some text", &format!("{must} it has no PEM"));
    of_cert(&der, &format!("{must} it is binary: DER or PKCS#12"));
    of_cert(csr, &format!("{must} it holds CERTIFICATE REQUEST"));
    of_cert(&ec_key, &format!("{must} it holds EC PRIVATE KEY"));
    of_cert(damaged.as_bytes(), &format!("{must} its PEM is damaged"));
    of_cert(
        &specimen("v1.cert"),
        "its first certificate is X.509 version 1, and must be version 3",
    );
    of_cert(&chain, "the certificate of tls_key_file is number 2 in it, and must be the first");

    let of_key = |key: &[u8], expected: &str| expect(&ec, key, "key", expected);
    let must = "it must hold a private key in PEM, without a passphrase, but";
    of_key(b"", &format!("{must} it is empty"));
    of_key(&key_der, &format!("{must} it is binary: DER or PKCS#12"));
    of_key(&ec, &format!("{must} it holds CERTIFICATE"));
    of_key(damaged_key.as_bytes(), &format!("{must} its PEM is damaged"));
    of_key(&specimen("ec-encrypted.key"), &format!("{must} it has a passphrase"));
    of_key(&specimen("ec-encrypted-old.key"), &format!("{must} it has a passphrase"));

    let of_pair = |cert: &str, key: &str, kind: &str| {
        let [cert, key] =
            [format!("{cert}.cert"), format!("{key}.key")].map(|name| specimen(&name));
        let must =
            "must be EC on P-256, P-384 or P-521, Ed25519, ML-DSA, or RSA of 2048 to 8192 bits";
        expect(&cert, &key, "key", &format!("its key is {kind}, and {must}"));
    };
    of_pair("ed448", "ed448", "Ed448");
    of_pair("ec", "secp256k1", "EC on secp256k1");
    of_pair("rsa1024", "rsa1024", "RSA of 1024 bits");
    of_pair("rsa-pss", "rsa-pss", "RSA-PSS");

    let must = "it must belong to the first certificate of tls_cert_file";
    expect(other.as_bytes(), &ec_key, "key", must);
    let difference = "whose key is EC on P-521; this one is EC on P-256";
    expect(&specimen("p521.cert"), &ec_key, "key", &format!("{must}, {difference}"));
    let difference = "whose key is EC on P-256; this one is ML-DSA-65";
    expect(&ec, &specimen("ml-dsa.key"), "key", &format!("{must}, {difference}"));

    for (ca, expected) in [
        (&b""[..], "it must hold certificates in PEM, but it is empty"),
        (&ec_key[..], "it must hold certificates in PEM, but it holds EC PRIVATE KEY"),
        (&[&ec[..], &specimen("ec-undated.cert")].concat()[..], ""),
        (
            &b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"[..],
            "certificate number 1 in it cannot be used: ",
        ),
    ] {
        match check(&files, &ec, &ec_key, Some(ca)) {
            Ok(_) => assert_eq!(expected, ""),
            Err(message) => assert!(
                message.starts_with("tls_client_ca_file is ") && message.contains(expected),
                "{message}"
            ),
        }
    }
}

#[test]
fn each_valid_form_of_a_certificate_and_a_key_is_accepted() {
    let files = Files::new("taken");
    let [ec, ec_key] = ["ec.cert", "ec.key"].map(specimen);
    let both = [&ec_key[..], &ec].concat();
    let with_bom = [b"\xef\xbb\xbf", &ec[..]].concat();
    let crlf = String::from_utf8(ec.clone()).unwrap().replace('\n', "\r\n");
    let parameters =
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let key_with_bom = [b"\xef\xbb\xbf", &ec_key[..]].concat();
    // The public key is optional (RFC 5915, section 3).
    let [private_only, private_only_pkcs8] =
        ["ec-no-public.key", "ec-no-public-pkcs8.key"].map(specimen);
    let with_parameters = [parameters, &ec_key[..]].concat();
    for cert in [&ec[..], &both, &with_bom, crlf.as_bytes()] {
        for key in [
            &ec_key[..],
            &both,
            &key_with_bom,
            &with_parameters,
            &private_only,
            &private_only_pkcs8,
        ] {
            let config = check(&files, cert, key, None).unwrap();
            assert!(config.tls.unwrap().not_after().is_some());
        }
    }
    // A serial number that is too long is accepted.
    let config = check(&files, &specimen("ec-long-serial.cert"), &ec_key, None).unwrap();
    assert!(config.tls.unwrap().not_after().is_some());
}

#[test]
fn a_session_runs_with_a_key_of_each_kind() {
    let files = Files::new("each-kind");
    let algorithms = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ECDSA_P521_SHA512];
    let generated =
        algorithms.into_iter().chain([&PKCS_ED25519, &PKCS_RSA_SHA256]).map(|algorithm| {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        });
    let text = |name: String| String::from_utf8(specimen(&name)).unwrap();
    let specimens = ["ml-dsa", "rsa8192"];
    let specimens = specimens.map(|it| (text(format!("{it}.cert")), text(format!("{it}.key"))));
    for (cert, key) in generated.chain(specimens) {
        fs::write(files.path("cert.pem"), &cert).unwrap();
        fs::write(files.path("key.pem"), key).unwrap();
        let process = files.start(&[]);
        let mut client = connect(process.address, client_config(&cert, &[&rustls::version::TLS13]));
        upgrade(&mut client);
        exchange_ping(&mut client);
    }
}

#[test]
fn a_certificate_with_an_unreadable_expiry_is_served_with_a_warning() {
    let files = Files::new("undated");
    let [ec, ec_key, undated] = ["ec.cert", "ec.key", "ec-undated.cert"].map(specimen);
    let not_after = |chain: &[&[u8]]| {
        let config = check(&files, &chain.concat(), &ec_key, None).unwrap();
        config.tls.unwrap().not_after()
    };
    assert_eq!(not_after(&[&undated]), None);
    // An issuer with a readable expiry does not replace that of the first certificate.
    assert_eq!(not_after(&[&undated, &ec]), None);
    assert_eq!(not_after(&[&ec, &undated]), not_after(&[&ec]));

    // The same if an issuer is no certificate at all: clients receive it unchanged.
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (valid, valid_key) = certificate(|_| {});
    let chain = format!("{valid}{junk}");
    for (cert, key, position) in
        [(&undated[..], &ec_key[..], 1), (chain.as_bytes(), valid_key.as_bytes(), 2)]
    {
        fs::write(files.path("cert.pem"), cert).unwrap();
        fs::write(files.path("key.pem"), key).unwrap();
        let mut command = server();
        command.args(files.flags()).args(["--log-format=json", "--admin-listen=127.0.0.1:0"]);
        let mut process = Process::run(command);
        let line = process.event("starting");
        let admin = line["admin"].as_str().unwrap().parse().unwrap();
        let line = process.event("certificate_undated");
        assert_eq!(fields(&line), documented("certificate_undated"));
        assert_eq!((&line["level"], &line["certificate"]), (&"WARN".into(), &position.into()));
        let address = process.event("listening")["address"].as_str().unwrap().to_owned();
        process.address = address.trim_start_matches("tls:").parse().unwrap();

        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (_, _, metrics) = support::Client::connect(admin).request(request);
        let name = "ws_status_tls_certificate_expiry_timestamp_seconds 0\n";
        assert_eq!(metrics.contains(name), position == 1);
        if position == 2 {
            let mut client = connect(process.address, client_config(&valid, rustls::ALL_VERSIONS));
            upgrade(&mut client);
            exchange_ping(&mut client);
        }
    }
}
