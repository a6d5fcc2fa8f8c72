//! The records of pax headers, as POSIX defines them for `pax`: `LENGTH KEY=VALUE` and a newline.
//! The length counts the whole record with its own digits, so a value may hold any bytes, newlines
//! too.

/// A pax record: key and value.
pub type PaxRecord<'a> = (&'a [u8], &'a [u8]);

/// Returns the records of a payload; `None` if it is not a sequence of records.
pub fn records(mut payload: &[u8]) -> Option<Vec<PaxRecord<'_>>> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let space = payload.iter().position(|byte| *byte == b' ')?;
        let digits = &payload[..space];
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (record, rest) = payload.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((&record[..equals], &record[equals + 1..]));
        payload = rest;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_apart_whatever_their_values_hold() {
        let payload = b"12 path=a\n=\n13 size=1234\n";
        assert_eq!(
            records(payload),
            Some(vec![(&b"path"[..], &b"a\n="[..]), (&b"size"[..], &b"1234"[..])])
        );
        let wrong: [&[u8]; 11] = [
            b"x",
            b" a=b\n",
            b"0 a=b\n",
            b"1 a=b\n",
            b"6 a=b",
            b"7 a=b\n",
            b"5 a=b\n",
            b"+6 a=b\n",
            b"5 ab\n",
            b"2 \n",
            b"99999999999999999999999 a=b\n",
        ];
        for payload in wrong {
            assert_eq!(records(payload), None, "{payload:?}");
        }
    }
}
