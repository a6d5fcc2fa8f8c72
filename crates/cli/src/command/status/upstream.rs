//! The upstream that a store follows, as `status` shows it.

use crate::command::pin::JsonPin;
use crate::output::{Output, short};
use crate::values::size::show;
use crate::values::time;
use freestone_core::{ErrorKind, Result, shown};
use freestone_follow::{Complete, Follower, Opened, Patience, Pin, complete, offline, pins};
use serde::Serialize;

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
pub(super) struct Answer {
    url: String,
    store_id: String,
    host: String,
    cache_size: Option<u64>,
    offline: bool,
    reachable: Option<bool>,
    reached: Option<u64>,
    unreachable_since: Option<u64>,
    complete: Vec<JsonComplete>,
    pins: Vec<JsonPin>,
    #[serde(skip)]
    for_people: (Vec<Complete>, Vec<Pin>),
}

#[derive(Serialize)]
struct JsonComplete {
    revision: String,
    name: String,
}

/// Checks whether the upstream can be reached. Returns the store, offline if it cannot be, and the
/// state of the upstream.
///
/// # Errors
/// Local data cannot be read; or the upstream can be reached, but fails.
pub(super) fn look(opened: Opened, follower: &Follower) -> Result<(Opened, Answer)> {
    let is_offline = follower.is_offline();
    // The question is whether it can be reached now.
    follower.be_patient(Patience::default());
    let reachable = match is_offline {
        true => None,
        false => match opened.store.refs().list() {
            Ok(_) => Some(true),
            Err(error) if error.kind() == ErrorKind::Storage => Some(false),
            Err(error) => return Err(error),
        },
    };
    let (config, seen) = (follower.config().clone(), follower.last_seen());
    // If the upstream does not answer, everything else comes from local data.
    let opened = if reachable == Some(false) { offline(&opened)? } else { opened };
    let (complete, pins) = (complete(&opened)?, pins(&opened)?);
    let shown = pins.iter().map(|pin| JsonPin::new(&opened, pin)).collect::<Result<Vec<_>>>()?;
    let json = |complete: &Complete| JsonComplete {
        revision: complete.id.to_string(),
        name: complete.name.clone(),
    };
    let answer = Answer {
        url: shown::url(&config.url),
        store_id: config.store.to_string(),
        host: config.host,
        cache_size: config.cache_size,
        offline: is_offline,
        reachable,
        reached: seen.reached,
        unreachable_since: seen.unreachable_since,
        complete: complete.iter().map(json).collect(),
        pins: shown,
        for_people: (complete, pins),
    };
    Ok((opened, answer))
}

impl Answer {
    /// Prints the state for people.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn say(&self, out: &Output) -> Result<()> {
        let since = |seconds: u64| time::show(i64::try_from(seconds).unwrap_or(i64::MAX));
        let state = match (self.reachable, self.unreachable_since, self.reached) {
            (Some(true), ..) => "reachable".to_owned(),
            (Some(false), Some(seconds), _) => format!("unreachable since {}", since(seconds)),
            (_, Some(seconds), _) => format!("not contacted; unreachable since {}", since(seconds)),
            (_, None, Some(seconds)) => format!("not contacted; last reached {}", since(seconds)),
            _ => "never reached".to_owned(),
        };
        out.line(format_args!("upstream   {}, {state}", self.url))?;
        let size = self.cache_size.map_or_else(|| "unlimited".into(), show);
        out.line(format_args!("host       {}, cache size {size}", self.host))?;
        let (complete, pins) = &self.for_people;
        for complete in complete {
            out.line(format_args!("complete   {} {}", short(&complete.id), complete.name))?;
        }
        for (pin, shown) in pins.iter().zip(&self.pins) {
            out.line(format_args!("pin        {}", shown.line(pin)))?;
        }
        Ok(())
    }
}
