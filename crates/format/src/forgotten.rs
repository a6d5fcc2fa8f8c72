//! What is not to be kept: revisions that were forgotten, and contents that were taken down. All is
//! said by the names of empty objects.

use freestone_core::{Id, Sha1};

/// Returns the name of the object that says that revision `id` is forgotten: `forgotten/ID`.
pub fn object_name(id: &Id) -> String {
    format!("forgotten/{id}")
}

/// Returns the revision that the object of this name says is forgotten.
pub fn of_object(name: &str) -> Option<Id> {
    let id = Id::parse(name.strip_prefix("forgotten/")?).ok()?;
    (object_name(&id) == name).then_some(id)
}

/// A content that was taken down: no store of this id may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TakenDown {
    /// Its content id.
    pub content: Id,
    /// Its SHA-1.
    pub sha1: Sha1,
}

impl TakenDown {
    /// Returns the name of its object: `gc/CONTENT-SHA1.taken-down`. Pushers list that folder
    /// anyway.
    pub fn object_name(&self) -> String {
        format!("gc/{}-{}.taken-down", self.content, self.sha1)
    }

    /// Returns what the object of this name says is taken down.
    pub fn of_object(name: &str) -> Option<Self> {
        let ids = name.strip_prefix("gc/")?.strip_suffix(".taken-down")?;
        let (content, sha1) = ids.split_once('-')?;
        let found = Self { content: Id::parse(content).ok()?, sha1: Sha1::parse(sha1).ok()? };
        (found.object_name() == name).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are_of() {
        let id = Id([0xab; 32]);
        assert_eq!(of_object(&object_name(&id)), Some(id));
        let taken = TakenDown { content: id, sha1: Sha1([7; 20]) };
        assert_eq!(TakenDown::of_object(&taken.object_name()), Some(taken));
        let upper = object_name(&id).to_uppercase();
        for bad in ["forgotten/ab", "forgotten/", &upper, "gc/0000000000000001.intent"] {
            assert_eq!(of_object(bad), None, "{bad}");
            assert_eq!(TakenDown::of_object(bad), None, "{bad}");
        }
    }
}
