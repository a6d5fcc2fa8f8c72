//! Marks of a walk over all entries, by which an entry is found without walking from the start.

/// How many marks are kept, which is about a megabyte of them. When there are more, every second
/// one is dropped, so that finding an entry walks twice as far.
pub(crate) const MARKS_MAX: usize = 1 << 16;

/// A bounded number of marks, in order and evenly spaced. There is always the one of the first
/// entry.
pub(crate) struct Marks<M> {
    marks: Vec<M>,
    marks_max: usize,
    stride: u64,
}

impl<M: Copy> Marks<M> {
    /// Starts with the mark of the first entry.
    pub(crate) fn new(first: M, marks_max: usize) -> Self {
        Self { marks: vec![first], marks_max, stride: 1 }
    }

    /// Offers the mark of the entry that has `index` others before it, and keeps it if it is its
    /// turn. The marks of all entries must be offered in order; that of the first may be, too.
    pub(crate) fn offer(&mut self, index: u64, mark: M) {
        if index == 0 || !index.is_multiple_of(self.stride) {
            return;
        }
        if self.marks.len() >= self.marks_max {
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.stride *= 2;
        }
        if index.is_multiple_of(self.stride) {
            self.marks.push(mark);
        }
    }

    /// Returns the last mark for which `is_before` holds, or the first mark if there is none. It
    /// must hold for all marks up to some point and for none after it.
    pub(crate) fn last(&self, is_before: impl Fn(&M) -> bool) -> M {
        self.marks[self.marks.partition_point(is_before).saturating_sub(1)]
    }

    /// Returns all marks that are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> &[M] {
        &self.marks
    }
}
