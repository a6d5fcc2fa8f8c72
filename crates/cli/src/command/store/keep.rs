//! The options that say what collections keep.

use crate::values::duration::duration;
use clap::Args;
use freestone_maintain::{Keep, Policy};
use std::time::Duration;

/// What of which refs is kept, and which packs are written again.
#[derive(Args)]
pub(super) struct KeepOptions {
    /// Keep so many of the newest entries of each ref
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keep_last: Option<u64>,

    /// Keep entries that were the newest at some time in this period: a number with m, h or d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    keep_within: Option<Duration>,

    /// Keep entries whose revision has this label
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = label)]
    keep_label: Vec<(String, Option<String>)>,

    /// Keep something else of the refs that match a pattern; may be repeated, and the first that
    /// matches a ref counts. In a pattern, * stands for anything but /, and ** for anything. KEEP is
    /// `all`, or last=N, within=TIME and label=KEY[=VALUE], separated by commas
    #[arg(long, value_name = "PATTERN:KEEP", value_parser = keep_for)]
    keep_for: Vec<(String, Keep)>,

    /// Rewrite packs of which at least so many percent are not needed. Default: 50
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..=100))]
    unused: Option<u64>,

    /// Leave younger packs alone: a number with m, h or d. Default: 1d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    min_age: Option<Duration>,
}

impl KeepOptions {
    /// Returns true if they say which entries are kept.
    pub(super) fn says_what(&self) -> bool {
        let others = self.keep_last.is_some() || self.keep_within.is_some();
        others || !self.keep_label.is_empty() || !self.keep_for.is_empty()
    }

    /// Returns the policy that the options say. What they do not say is as in `policy`; which entries
    /// are kept, they say all of or nothing.
    pub(super) fn over(&self, mut policy: Policy) -> Policy {
        if self.says_what() {
            policy.patterns = self.keep_for.clone();
            policy.others = Keep {
                last: self.keep_last,
                within: self.keep_within,
                labels: self.keep_label.clone(),
            };
        }
        policy.unused_percent = self.unused.unwrap_or(policy.unused_percent);
        policy.min_age = self.min_age.unwrap_or(policy.min_age);
        policy
    }
}

type Label = (String, Option<String>);

fn label(text: &str) -> Result<Label, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    match key {
        "" => Err("give a label's key, or KEY=VALUE".into()),
        key => Ok((key.to_owned(), value)),
    }
}

fn keep_for(text: &str) -> Result<(String, Keep), String> {
    let wrong = || {
        "give PATTERN:KEEP, where KEEP is all, or last=N, within=TIME and label=KEY[=VALUE], \
                    separated by commas"
    };
    let (pattern, rules) = text.split_once(':').ok_or_else(wrong)?;
    let mut keep = Keep::default();
    if pattern.is_empty() {
        return Err(wrong().into());
    }
    if rules == "all" {
        return Ok((pattern.into(), keep));
    }
    for rule in rules.split(',') {
        match rule.split_once('=') {
            Some(("last", n)) => {
                let n = n.parse().ok().filter(|n| *n > 0);
                keep.last = Some(n.ok_or("last= needs a number from 1 on")?);
            }
            Some(("within", time)) => keep.within = Some(duration(time)?),
            Some(("label", rest)) => keep.labels.push(label(rest)?),
            _ => return Err(wrong().into()),
        }
    }
    Ok((pattern.into(), keep))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_pattern() {
        let (pattern, keep) = keep_for("pr/**:last=2,within=3d,label=a=b,label=c").unwrap();
        assert_eq!(pattern, "pr/**");
        assert_eq!(keep.last, Some(2));
        assert_eq!(keep.within, Some(Duration::from_secs(3 * 86_400)));
        assert_eq!(keep.labels, [("a".into(), Some("b".into())), ("c".into(), None)]);
        assert!(keep_for("x:all").unwrap().1.keeps_all());
        for bad in ["", "x", ":all", "x:", "x:last=0", "x:last=a", "x:within=1y", "x:label=", "x:y"]
        {
            assert!(keep_for(bad).is_err(), "{bad}");
        }
    }
}
