//! Malformed heads and trailers are stream errors, and other sessions on the connection stay open
//! (RFC 9113, section 8.1.1).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use support::raw_http2::{
    COMPRESSION_ERROR, CONNECT, CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, GOAWAY,
    HAS_PRIORITY, HEADERS, Http2, PADDED, PROTOCOL_ERROR, RST_STREAM, block, frame, headers, text,
};
use support::server::Server;

/// Flags for a connection of a client, and for one of a trusted proxy.
const OWN: &[&str] = &[];
const SHARED: &[&str] =
    &["--trusted-proxies", "127.0.0.1", "--forwarded-header", "x-forwarded-for"];

type Fields = Vec<(&'static [u8], &'static [u8])>;

fn server(flags: &[&str]) -> Server {
    let unlimited = ["--control-frames-per-second", "0"];
    Server::start(&[&["--admin-listen", "127.0.0.1:0"], &unlimited, flags].concat())
}

/// The valid request.
fn valid() -> Fields {
    CONNECT.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

/// The valid request with one more field.
fn with(name: &'static [u8], value: &'static [u8]) -> Fields {
    [valid(), vec![(name, value)]].concat()
}

/// The valid request with another value of a field.
fn changed(name: &'static [u8], value: &'static [u8]) -> Fields {
    valid().into_iter().map(|line| if line.0 == name { (name, value) } else { line }).collect()
}

/// The valid request with one more field before the others.
fn preceded_by(name: &'static [u8], value: &'static [u8]) -> Fields {
    [vec![(name, value)], valid()].concat()
}

/// Requests that h2 or the `http` crate would refuse.
fn malformed() -> Vec<(&'static str, Fields)> {
    vec![
        ("a control character", with(b"x", b"a\x01b")),
        ("an escape", with(b"user-agent", b"a\x1b[31m")),
        ("a control character in a cookie", with(b"cookie", b"a=\x01")),
        (
            "a control character in a split cookie",
            [with(b"cookie", b"a=b"), vec![(b"cookie", b"c=\x7f")]].concat(),
        ),
        ("a DEL", with(b"x", b"a\x7f")),
        ("a NUL", with(b"x", b"\0")),
        ("a line break in a value", with(b"x", b"x\r\norigin: b")),
        ("a name in upper case", with(b"X", b"x")),
        ("an empty name", with(b"", b"x")),
        ("a space in a name", with(b"x x", b"x")),
        ("a control character in a name", with(b"x\x01", b"x")),
        ("a name that is no ASCII", with(b"x\xe9", b"x")),
        ("an unknown pseudo-header", preceded_by(b":other", b"x")),
        ("an empty pseudo-header", preceded_by(b":", b"x")),
        ("a status", preceded_by(b":status", b"200")),
        ("an invalid status", preceded_by(b":status", b"x")),
        ("a pseudo-header twice", with(b":path", b"/ws/status")),
        ("a pseudo-header after other fields", with(b":other", b"x")),
        ("an empty method", changed(b":method", b"")),
        ("a space in the method", changed(b":method", b"CON NECT")),
        ("a method that is no UTF-8", changed(b":method", b"\xe9")),
        ("a protocol that is no UTF-8", changed(b":protocol", b"\xe9")),
        ("a scheme that is no UTF-8", changed(b":scheme", b"\xe9")),
        ("an invalid scheme", changed(b":scheme", b"a b")),
        ("a path that is no UTF-8", changed(b":path", b"/ws/status?\xe9")),
        ("an invalid path", changed(b":path", b"/ws/status?<")),
        ("an empty path", changed(b":path", b"")),
        ("a control character in the path", changed(b":path", b"/ws/status?\x01")),
        ("an authority that is no UTF-8", changed(b":authority", b"a\xe9")),
        ("an invalid authority", changed(b":authority", b"a/b c")),
        ("an invalid length", with(b"content-length", b"x")),
        ("a length with a sign", with(b"content-length", b"+1")),
        ("a length beyond 64 bits", with(b"content-length", b"99999999999999999999999")),
        ("transfer-encoding", with(b"transfer-encoding", b"chunked")),
        ("connection", with(b"connection", b"close")),
        ("te", with(b"te", b"gzip")),
    ]
}

#[test]
fn a_malformed_head_gets_400_and_other_sessions_stay_open() {
    for flags in [OWN, SHARED] {
        let server = server(flags);
        for (round, (name, fields)) in (1_u32..).zip(malformed()) {
            let mut client = Http2::connect(server.address);
            let session = client.open();
            let stream = client.stream();
            client.send(&frame(HEADERS, END_HEADERS, stream, &block(&fields)));
            assert_eq!(client.expect(HEADERS, stream).status(), 400, "{name}");
            client.exchange_pings(session);
            assert_eq!(client.request(CONNECT), 200, "{name}");
            assert_eq!(server.refused("malformed"), f64::from(round), "{name}");
        }
    }
}

#[test]
fn a_malformed_head_with_continuation_frames_gets_400() {
    let server = server(SHARED);
    for (name, fields) in malformed() {
        let mut client = Http2::connect(server.address);
        let session = client.open();
        let stream = client.stream();
        let block = block(&fields);
        // Even a name is split.
        let (first, rest) = block.split_at(3);
        let (second, third) = rest.split_at(rest.len() / 2);
        client.send(&frame(HEADERS, 0, stream, first));
        client.send(&frame(CONTINUATION, 0, stream, second));
        client.send(&frame(CONTINUATION, END_HEADERS, stream, third));
        assert_eq!(client.expect(HEADERS, stream).status(), 400, "{name}");
        client.exchange_pings(session);
    }
}

#[test]
fn a_content_length_that_contradicts_the_request_is_malformed() {
    let server = server(SHARED);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    let different = [with(b"content-length", b"1"), vec![(b"content-length", b"2")]].concat();
    for (flags, fields) in [(0, different), (END_STREAM, with(b"content-length", b"1"))] {
        let stream = client.stream();
        client.send(&frame(HEADERS, END_HEADERS | flags, stream, &block(&fields)));
        assert_eq!(client.expect(HEADERS, stream).status(), 400);
    }
    client.exchange_pings(session);
}

#[test]
fn a_malformed_field_in_the_dynamic_table_gets_400_each_time() {
    let server = server(SHARED);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    // Literals with indexing (RFC 7541, section 6.2.1). The valid field has the higher index.
    let valid_field = [&[0x40], &*text("x-good"), &*text("x")].concat();
    let invalid_field = [&[0x40], &*text("x-bad"), &*text("a\x01b")].concat();
    let stream = client.stream();
    client.send(&frame(
        HEADERS,
        END_HEADERS,
        stream,
        &[block(CONNECT), valid_field, invalid_field].concat(),
    ));
    assert_eq!(client.expect(HEADERS, stream).status(), 400);
    for (index, status) in [(0xbe, 400), (0xbf, 200), (0xbe, 400), (0xbf, 200)] {
        let stream = client.stream();
        client.send(&frame(HEADERS, END_HEADERS, stream, &[block(CONNECT), vec![index]].concat()));
        assert_eq!(client.expect(HEADERS, stream).status(), status, "{index:x}");
    }
    client.exchange_pings(session);
}

#[test]
fn a_head_that_depends_on_itself_or_is_padded_is_accepted() {
    let server = server(SHARED);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    let stream = client.stream();
    let priority = [&stream.to_be_bytes()[..], &[16]].concat();
    let payload = [&priority, &*block(CONNECT)].concat();
    client.send(&frame(HEADERS, END_HEADERS | HAS_PRIORITY, stream, &payload));
    assert_eq!(client.expect(HEADERS, stream).status(), 200);
    let stream = client.stream();
    let payload = [&[7], &*priority, &*block(CONNECT), &[0; 7]].concat();
    client.send(&frame(HEADERS, END_HEADERS | HAS_PRIORITY | PADDED, stream, &payload));
    assert_eq!(client.expect(HEADERS, stream).status(), 200);
    client.exchange_pings(session);
}

#[test]
fn malformed_trailers_reset_their_stream_and_no_other() {
    for flags in [OWN, SHARED] {
        let server = server(flags);
        let mut client = Http2::connect(server.address);
        let session = client.open();
        let trailers: [(&str, u8, Fields); 5] = [
            ("a control character", END_STREAM, vec![(b"x", b"a\x01b")]),
            ("a name in upper case", END_STREAM, vec![(b"X", b"x")]),
            ("a pseudo-header", END_STREAM, vec![(b":path", b"/")]),
            ("a connection-specific header", END_STREAM, vec![(b"connection", b"close")]),
            ("no END_STREAM", 0, vec![(b"x", b"x")]),
        ];
        for (name, end, fields) in trailers {
            let stream = client.open();
            client.send(&frame(HEADERS, END_HEADERS | end, stream, &block(&fields)));
            assert_eq!(client.expect(RST_STREAM, stream).code(), PROTOCOL_ERROR, "{name}");
            server.wait_for("sessions", 1.0);
            client.exchange_pings(session);
        }
    }
}

#[test]
fn malformed_trailers_that_arrive_with_their_request_get_400() {
    let server = server(SHARED);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    for fields in [CONNECT, GET] {
        let stream = client.stream();
        let trailers: Fields = vec![(b"x", b"a\x01b")];
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&trailers));
        client.send(&[headers(stream, fields), frame(DATA, 0, stream, b"a"), trailers].concat());
        assert_eq!(client.expect(HEADERS, stream).status(), 400);
    }
    client.exchange_pings(session);
    assert_eq!(server.metric("sessions_opened_total"), 1.0);
}

#[test]
fn late_trailers_end_no_session() {
    let server = server(SHARED);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    // More streams than h2 remembers.
    let streams: Vec<u32> = (0..200).map(|_| client.stream()).collect();
    for stream in &streams {
        client.send(&headers(*stream, GET));
        assert_eq!(client.expect(HEADERS, *stream).status(), 404);
    }
    let trailers: Vec<(&[u8], &[u8])> = vec![(b"x", b"x")];
    for stream in streams {
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&trailers)));
    }
    client.exchange_pings(session);
}

#[test]
fn a_malformed_head_behind_a_proxy_is_logged_with_the_client_address() {
    let process = support::process::Process::start(SHARED);
    let mut client = Http2::connect(process.address);
    let forwarded: Fields = vec![(b"x-forwarded-for", b"198.51.100.7"), (b"x", b"\x01")];
    let stream = client.stream();
    client.send(&frame(HEADERS, END_HEADERS, stream, &block(&[valid(), forwarded].concat())));
    assert_eq!(client.expect(HEADERS, stream).status(), 400);
    let line = process.event("refused");
    assert_eq!((&line["refusal"], &line["peer"]), (&"malformed".into(), &"198.51.100.7".into()));
}

#[test]
fn the_response_to_a_malformed_request_has_a_body_except_for_head() {
    let server = server(SHARED);
    let mut client = Http2::connect(server.address);
    for (method, has_body) in [(&b"GET"[..], true), (b"HEAD", false), (b"\xe9", true)] {
        let fields: Fields =
            vec![(b":method", method), (b":scheme", b"http"), (b":path", b"/"), (b"x", b"\x01")];
        let stream = client.stream();
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields)));
        let answer = client.expect(HEADERS, stream);
        assert_eq!((answer.status(), answer.flags & END_STREAM == 0), (400, has_body));
        if has_body {
            assert!(client.expect(DATA, stream).payload.starts_with(b"malformed: "));
        }
    }
}

/// A random number generator with reproducible seeds (`SplitMix64`).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.byte()).collect()
    }

    /// A random field in any decodable representation (RFC 7541, section 6).
    fn field(&mut self) -> Vec<u8> {
        let name = match self.below(4) {
            0 => self.bytes(6),
            1 => [b":", &*self.bytes(6)].concat(),
            _ => valid()[self.below(6)].0.to_vec(),
        };
        let value = self.bytes(20);
        match self.below(4) {
            // An entry of the static table.
            0 => vec![0x80 | u8::try_from(self.below(61) + 1).unwrap()],
            1 => [&[0x40], &*text(name), &*text(value)].concat(),
            2 => [&[0x10], &*text(name), &*text(value)].concat(),
            _ => [&[0], &*text(name), &*text(value)].concat(),
        }
    }

    /// Splits a block into frames of random sizes, with or without padding.
    fn frames(&mut self, mut flags: u8, stream: u32, mut block: &[u8]) -> Vec<u8> {
        let mut kind = HEADERS;
        let mut frames = Vec::new();
        for left in (0..=self.below(4)).rev() {
            let count = if left == 0 { block.len() } else { self.below(block.len() + 1) };
            let (part, rest) = block.split_at(count);
            let is_last = if left == 0 { END_HEADERS } else { 0 };
            frames.extend(if kind == HEADERS && self.below(2) == 0 {
                let padding = self.byte();
                let payload = [&[padding], part, &vec![0; padding.into()]].concat();
                frame(kind, flags | is_last | PADDED, stream, &payload)
            } else {
                frame(kind, flags | is_last, stream, part)
            });
            (kind, flags, block) = (CONTINUATION, 0, rest);
        }
        frames
    }
}

#[test]
fn no_decodable_head_ends_other_sessions() {
    let server = server(SHARED);
    for seed in 0..100 {
        let mut rng = Rng(seed);
        let mut client = Http2::connect(server.address);
        let session = client.open();
        for _ in 0..20 {
            let stream = client.stream();
            let mut fields: Vec<Vec<u8>> = (0..rng.below(4)).map(|_| rng.field()).collect();
            fields.extend(CONNECT.iter().map(|field| block(&[*field])));
            for _ in 0..rng.below(6) {
                let (a, b) = (rng.below(fields.len()), rng.below(fields.len()));
                fields.swap(a, b);
            }
            let field = rng.field();
            let bytes = match rng.below(3) {
                0 => rng.frames(END_STREAM, stream, &fields.concat()),
                1 => rng.frames(0, stream, &fields.concat()),
                // With trailers, some of them invalid for lack of END_STREAM, too.
                _ => [
                    rng.frames(0, stream, &fields.concat()),
                    rng.frames(if field.len() > 9 { END_STREAM } else { 0 }, stream, &field),
                ]
                .concat(),
            };
            for part in bytes.chunks(rng.below(200) + 1) {
                client.send(part);
            }
        }
        client.exchange_pings(session);
    }
}

#[test]
fn random_header_blocks_end_the_connection_only_with_compression_error() {
    let server = server(SHARED);
    let mut ended = 0;
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let mut client = Http2::connect(server.address);
        let session = client.open();
        let mut block = block(CONNECT);
        for _ in 0..=rng.below(3) {
            let position = rng.below(block.len());
            block[position] = rng.byte();
        }
        let stream = client.stream();
        client.send(&rng.frames(0, stream, &block));
        client.send_data(session, &support::frame(support::PING, b"!"));
        let answer = std::iter::from_fn(|| client.frame())
            .find(|frame| frame.kind == GOAWAY || frame.is(DATA, session))
            .unwrap_or_else(|| panic!("seed {seed} ends without a GOAWAY"));
        if answer.kind == GOAWAY {
            assert_eq!(answer.code(), COMPRESSION_ERROR, "{seed}");
            ended += 1;
        }
    }
    assert!((1..400).contains(&ended), "{ended}");
}
