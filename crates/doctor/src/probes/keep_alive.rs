//! Do the server's pings arrive before the path is cut, and what cuts it?

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Attempt, Opened, PING, Received, Session, Stop};
use crate::context::{Context, time};
use crate::escape::escape;
use crate::finding::{Finding, Question};
use crate::probes::ping::{PAUSE, describe};
use crate::remedies::Remedy;

const QUESTION: Question = Question::KeepAlive;

/// Above it common limits of idle connections cut between two pings.
const RARE: Duration = Duration::from_secs(30);

/// How often people are told what is waited for.
const PROGRESS: Duration = Duration::from_secs(5);

/// Watches a session that sends nothing but pongs.
pub(crate) async fn keep_alive(context: &Context<'_>) -> Vec<Finding> {
    let known = context.admin.as_ref().and_then(|admin| admin.ping_interval());
    let interval = known.unwrap_or(context.options.interval_secs);
    let until_ping = interval + context.limit();
    let idle = context.options.idle_secs;
    let limit = idle.map_or(until_ping, |idle| idle.max(until_ping));
    let Attempt::Open(Opened { session, at, .. }) = context.open().await else { return Vec::new() };
    let watch = Watch { limit, until: Until::Pings { silence: idle.unwrap_or_default() } };
    let watched = watch.run(context, session, at).await;
    match watched.end {
        Some(End::Closed(code, ref reason)) => vec![closed(code, reason, watched.lasted)],
        // The probe of pings has said so.
        Some(End::Stopped(Stop::NotAFrame(_))) => Vec::new(),
        Some(End::Stopped(ref stop)) => {
            vec![cut(context, &watched, stop, known).await]
        }
        None => stayed(&watched, known, idle),
    }
}

/// How a session is watched.
struct Watch {
    limit: Duration,
    until: Until,
}

/// When the watch is over before its limit.
#[derive(Clone, Copy)]
enum Until {
    /// A ping of the server has arrived, and the session has lasted this long.
    Pings { silence: Duration },
    /// Never; we send a ping at this interval.
    Busy { interval: Duration },
}

/// What a watch showed.
#[derive(Default)]
struct Watched {
    lasted: Duration,
    /// When the first and the latest ping of the server arrived, since the opening.
    pings: Option<(Duration, Duration)>,
    /// The longest time between two pings of the server.
    between_pings: Option<Duration>,
    /// The longest time without a frame in either direction, before the latest frame and after it.
    silence: Duration,
    last_silence: Duration,
    end: Option<End>,
}

impl Watched {
    fn record(&mut self, frame: &Received, at: Duration, silence: Duration) {
        self.silence = self.silence.max(silence);
        if *frame == Received::Ping {
            let between = self.pings.map(|(_, latest)| at.saturating_sub(latest));
            self.between_pings = self.between_pings.max(between);
            self.pings = Some((self.pings.map_or(at, |(first, _)| first), at));
        }
    }
}

enum End {
    /// A Close frame, with its code and reason.
    Closed(Option<u16>, Vec<u8>),
    Stopped(Stop),
}

impl Watch {
    /// Watches a session that was opened at this time.
    async fn run(&self, context: &Context<'_>, mut session: Session, began: Instant) -> Watched {
        let (mut last, mut told) = (began, began);
        self.tell(context, Duration::ZERO);
        let mut watched = Watched::default();
        while began.elapsed() < self.limit && watched.end.is_none() {
            if let Until::Pings { silence } = self.until
                && watched.pings.is_some()
                && began.elapsed() >= silence
            {
                break;
            }
            let mut until = (began + self.limit).min(told + PROGRESS);
            match self.until {
                Until::Busy { interval } => until = until.min(last + interval),
                Until::Pings { silence } if watched.pings.is_some() => {
                    until = until.min(began + silence);
                }
                Until::Pings { .. } => {}
            }
            match session.next(until).await {
                Ok(Received::Close(code, reason)) => watched.end = Some(End::Closed(code, reason)),
                Ok(received) => {
                    watched.record(&received, began.elapsed(), last.elapsed());
                    last = Instant::now();
                }
                Err(Stop::TimedOut) => {
                    if let Until::Busy { interval } = self.until
                        && last.elapsed() >= interval
                    {
                        let _ = session.send(PING, b"doctor").await;
                        last = Instant::now();
                    }
                    if told.elapsed() >= PROGRESS {
                        told = Instant::now();
                        self.tell(context, began.elapsed());
                    }
                }
                Err(stop) => watched.end = Some(End::Stopped(stop)),
            }
        }
        watched.lasted = began.elapsed();
        watched.last_silence = last.elapsed();
        watched
    }

    fn tell(&self, context: &Context<'_>, passed: Duration) {
        let what = match self.until {
            Until::Busy { .. } => "comparing with a session that is not idle",
            Until::Pings { .. } => "waiting in silence for pings of the server",
        };
        let (passed, limit) = (passed.as_secs(), self.limit.as_secs());
        (context.progress)(&format!("{what}: {passed} of at most {limit} s"));
    }
}

fn closed(code: Option<u16>, reason: &[u8], lasted: Duration) -> Finding {
    let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
    let sentence = format!(
        "an idle session was closed with {code} \"{}\" after {}",
        escape(reason),
        time(lasted)
    );
    let server =
        "WS_STATUS_MAX_CONNECTION_AGE_SECS if the reason is max_age; its log has the cause";
    let remedies = [Remedy::Server(server.to_owned()), Remedy::TotalLimit];
    Finding::warning(QUESTION, "idle_closed", sentence, remedies)
}

/// The session ended without a Close frame: a second one, which is not idle, tells whether silence was the
/// cause.
async fn cut(
    context: &Context<'_>,
    watched: &Watched,
    stop: &Stop,
    known: Option<Duration>,
) -> Finding {
    let Watched { lasted, silence: longest, last_silence: last, .. } = *watched;
    let sentence = format!(
        "an idle session was cut without a Close frame after {} ({}), {} after its last frame",
        time(lasted),
        describe(stop),
        time(last)
    );
    (context.progress)("the idle session was cut; comparing with a session that is not idle");
    let limit = lasted.mul_f64(1.3) + Duration::from_millis(200);
    let Attempt::Open(Opened { session, at, .. }) = context.open().await else {
        return Finding::failure(QUESTION, "idle_cut", sentence, [Remedy::IdleLimit(time(last))]);
    };
    let interval = (last.min(lasted) / 4).max(PAUSE);
    let watch = Watch { limit, until: Until::Busy { interval } };
    let control = watch.run(context, session, at).await;
    if let Some(End::Closed(code, reason)) = &control.end {
        return closed(*code, reason, control.lasted);
    }
    if control.end.is_some() {
        let sentence = format!(
            "{sentence}; a session with traffic was cut after {} as well, so it is not an idle limit",
            time(control.lasted)
        );
        return Finding::failure(QUESTION, "total_cut", sentence, [Remedy::TotalLimit]);
    }
    if longest > last.mul_f64(1.2) {
        let sentence = format!(
            "{sentence}, though a silence of {} was not; a session that sends pings lasts: the answers to the \
             server's pings are lost",
            time(longest)
        );
        return Finding::failure(QUESTION, "pongs_lost", sentence, [Remedy::PassFrames]);
    }
    let pings = known.or(watched.between_pings).map_or_else(
        || "before a ping of the server".to_owned(),
        |interval| format!("and the server pings only every {}", time(interval)),
    );
    let sentence = format!(
        "{sentence}; a session with traffic lasts, so something on the way cuts connections that are idle for \
         {}, {pings}",
        time(last)
    );
    Finding::failure(QUESTION, "idle_cut", sentence, [Remedy::IdleLimit(time(last))])
        .measuring("idle_limit_ms", last)
}

fn stayed(watched: &Watched, known: Option<Duration>, idle: Option<Duration>) -> Vec<Finding> {
    let ping = Remedy::Server("WS_STATUS_PING_INTERVAL_SECS=25".to_owned());
    let Some((first, _)) = watched.pings else {
        let sentence = format!("no ping of the server arrived within {}", time(watched.lasted));
        let mut findings = vec![Finding::warning(
            QUESTION,
            "no_server_ping",
            sentence,
            [ping, Remedy::PassFrames],
        )];
        findings.extend(idle.map(|_| lasted(watched)));
        return findings;
    };
    // Before the first ping there may be only a part of an interval.
    let interval = known.or(watched.between_pings).unwrap_or(first);
    let sentence = format!("the server pings: the first ping came after {}", time(first));
    let mut findings = vec![if interval > RARE {
        let sentence =
            format!("{sentence}, and paths with limits of a minute or less may be cut before");
        Finding::warning(QUESTION, "pings_too_rare", sentence, [ping])
    } else {
        Finding::ok(QUESTION, "server_pings", sentence).measuring("server_ping_ms", first)
    }];
    findings.extend(idle.map(|_| lasted(watched)));
    findings
}

fn lasted(watched: &Watched) -> Finding {
    let longest = watched.silence.max(watched.last_silence);
    let sentence = format!(
        "an idle session stays open for {}; the longest silence in it was {}",
        time(watched.lasted),
        time(longest)
    );
    Finding::ok(QUESTION, "stays_open", sentence).measuring("longest_silence_ms", longest)
}
