//! The tables of the documents match the code.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use server::Setting;
use support::server::Server;
use support::{Client, document, header, table, word};
use transport::Rejection;
use transport::ws_core::{
    Action, Cause, CloseCode, Event, Lifecycle, Limits, SessionConfig, Timing, Violation,
};

/// The close code and reason that the state machine sends for each violation.
fn violations() -> Vec<(u16, String)> {
    let second = Duration::from_secs(1);
    let timing = Timing {
        ping_interval: second,
        pong_timeout: second,
        close_timeout: second,
        max_age: None,
        reconnect_spread: Duration::ZERO,
    };
    [Violation::InvalidUtf8, Violation::ProtocolError, Violation::TooBig]
        .map(|violation| {
            let mut session =
                Lifecycle::new(Arc::new(SessionConfig { timing, limits: Limits::default() }), 0);
            match session.handle(Event::Violation(violation), Duration::ZERO) {
                Some(Action::Close(frame)) => (frame.code.into(), frame.reason.to_string()),
                other => panic!("a Close frame, not {other:?}"),
            }
        })
        .to_vec()
}

#[test]
fn the_settings_in_the_manual_are_those_of_default_toml() {
    let documented: Vec<(String, String)> = table(&document("operations.md"), "### Settings")
        .iter()
        .map(|row| (word(&row[0]), word(&row[1])))
        .collect();
    let settings: Vec<(String, String)> = Setting::all()
        .iter()
        .map(|setting| (setting.variable(), setting.default.clone()))
        .collect();
    assert_eq!(documented, settings);
}

#[test]
fn each_setting_has_a_meaning_and_does_not_collide_with_service_links() {
    for setting in Setting::all() {
        assert!(setting.meaning.ends_with('.'), "{setting:?}");
        assert!(
            !setting.variable().contains("_PORT"),
            "Kubernetes sets such variables: {setting:?}"
        );
    }
}

#[test]
fn the_causes_in_the_manual_are_those_of_ws_core_with_its_codes() {
    let rows = table(&document("operations.md"), "### Causes");
    let documented: Vec<String> = rows.iter().map(|row| word(&row[0])).collect();
    let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    assert_eq!(documented, causes);
    for (code, cause) in violations() {
        let row = rows.iter().find(|row| word(&row[0]) == cause).unwrap();
        assert_eq!(row[1], code.to_string(), "{cause}");
    }
}

#[test]
fn the_refusals_in_the_manual_are_those_of_the_code() {
    let documented: Vec<(String, String)> = table(&document("operations.md"), "### Refusals")
        .iter()
        .map(|row| (word(&row[0]), row[1].clone()))
        .collect();
    let refusals: Vec<(String, String)> = Rejection::ALL
        .iter()
        .map(|rejection| (rejection.to_string(), rejection.status().as_u16().to_string()))
        .collect();
    assert_eq!(documented, refusals);
}

#[test]
fn the_refusals_in_the_specification_are_those_of_the_code_with_their_headers() {
    let rows = table(&document("api/endpoint.md"), "## Refusals");
    assert_eq!(rows.len(), Rejection::ALL.len());
    for &rejection in Rejection::ALL {
        let row = rows.iter().find(|row| word(&row[0]) == rejection.as_str()).unwrap();
        assert_eq!(row[1], rejection.status().as_u16().to_string(), "{rejection}");
        // The router adds `Connection: close` where the connection ends with the response.
        let documented: BTreeSet<String> = row[2]
            .split(", ")
            .map(|header| word(header).to_lowercase())
            .filter(|header| !header.is_empty() && header != "connection: close")
            .collect();
        let response = rejection.response();
        let common = ["content-type", "cache-control"];
        let sent: BTreeSet<String> = response
            .headers()
            .iter()
            .filter(|(name, _)| !common.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()).to_lowercase())
            .filter(|header| header != "connection: close")
            .collect();
        assert_eq!(documented, sent, "{rejection}");
    }
}

#[test]
fn the_close_codes_in_the_specification_are_those_that_are_sent() {
    let rows = table(&document("api/endpoint.md"), "## Close codes");
    let documented: Vec<(u16, String)> =
        rows.iter().map(|row| (row[0].parse().unwrap(), word(&row[1]))).collect();
    for (code, reason) in &documented {
        let only_reported = matches!(code, 1005 | 1006);
        assert_eq!(CloseCode::try_from(*code).is_err(), only_reported, "{code}");
        let is_cause = Cause::ALL.iter().any(|cause| cause.as_str() == reason);
        assert_ne!(is_cause, only_reported, "{code} {reason}");
    }
    for violation in violations() {
        assert!(documented.contains(&violation), "{violation:?}");
    }
}

#[test]
fn the_asyncapi_document_equals_the_prose() {
    let spec: Value = serde_json::from_str(&document("api/asyncapi.json")).unwrap();
    let prose = document("api/endpoint.md");
    let channel = &spec["channels"]["status"];
    assert!(spec["asyncapi"].as_str().unwrap().starts_with("3."));
    assert_eq!(spec["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(channel["address"], server::PATH);
    assert_eq!(channel["bindings"]["ws"]["method"], "GET");

    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = |list: &Value, names: [&str; 2]| -> Vec<[String; 2]> {
        list.as_array().unwrap().iter().map(|entry| names.map(|name| text(&entry[name]))).collect()
    };
    let rows = |heading| -> Vec<[String; 2]> {
        table(&prose, heading).iter().map(|row| [word(&row[0]), word(&row[1])]).collect()
    };
    assert_eq!(pairs(&channel["x-refusals"], ["refusal", "status"]), rows("## Refusals"));
    let sent: Vec<[String; 2]> =
        rows("## Close codes").into_iter().filter(|[_, reason]| !reason.is_empty()).collect();
    assert_eq!(pairs(&channel["x-close-codes"], ["code", "reason"]), sent);

    let default = Setting::all().iter().find(|setting| setting.key == "max_message_bytes");
    let limit = &spec["components"]["messages"]["dropped"]["payload"]["maxLength"];
    assert_eq!(limit.to_string(), default.unwrap().default);
}

/// The metrics that a text names, without the suffixes of histogram series.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_name_char(c));
    let names = words.filter(|word| word.starts_with("ws_status_") || word.starts_with("process_"));
    names
        .map(|name| {
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            family.unwrap_or(name).to_owned()
        })
        .collect()
}

#[test]
fn alerts_and_the_dashboard_use_existing_metrics() {
    let page = document("metrics.md");
    let rows =
        ["## The table", "## Metrics of states"].map(|heading| table(&page, heading)).concat();
    let documented: BTreeSet<String> = rows.iter().map(|row| word(&row[0])).collect();
    for name in ["../deploy/prometheus/ws-status.rules.yml", "../deploy/grafana/ws-status.json"] {
        let named = metrics_in(&document(name));
        assert!(named.len() > 5, "{name} names {named:?}");
        let unknown: Vec<_> = named.difference(&documented).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}

#[test]
fn each_path_of_the_admin_listener_is_in_the_manual() {
    let rows = table(&document("operations.md"), "### Admin paths");
    let documented: Vec<String> = rows.iter().map(|row| word(&row[0])).collect();
    let server = Server::start(&["--admin-listen=127.0.0.1:0"]);
    let ask = |method: &str, path: &str| {
        let mut client = Client::connect(server.admin.unwrap());
        client.request(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    };
    // The listener reports its paths in a 404 and their methods in a 405.
    let (_, _, body) = ask("GET", "/nothing");
    let words = body.split(|c: char| c.is_whitespace() || c == ',');
    let paths: Vec<&str> = words.filter(|word| word.starts_with('/')).collect();
    let allowed = |method: &str| -> Vec<String> {
        let of = |path: &&&str| {
            let (status, head, _) = ask("PUT", path);
            assert_eq!(status, 405, "{path}");
            header(&head, "allow")
                .unwrap()
                .split(", ")
                .any(|allowed| allowed.eq_ignore_ascii_case(method))
        };
        paths.iter().filter(of).map(|path| format!("{method} {path}")).collect()
    };
    assert_eq!(documented, [allowed("GET"), allowed("POST")].concat());
}
