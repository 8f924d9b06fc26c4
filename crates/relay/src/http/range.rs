//! Which part of a file is asked for (RFC 9110, section 14).

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no range, several ones, or one that is not understood.
    Whole,
    /// From the first byte to the last one, both inclusive.
    Range { first: u64, last: u64 },
    /// Nothing of it is there.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size` bytes.
pub(super) fn read(header: &str, size: u64) -> Part {
    let range = header.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = range.and_then(|(_, range)| range.trim().split_once('-')) else {
        return Part::Whole;
    };
    match (number(first), number(last)) {
        // The last so many bytes.
        (None, Some(len)) if first.is_empty() && len > 0 && size > 0 => {
            Part::Range { first: size.saturating_sub(len), last: size - 1 }
        }
        (None, Some(_)) if first.is_empty() => Part::Unsatisfiable,
        (Some(first), None) if last.is_empty() => bounded(first, u64::MAX, size),
        (Some(first), Some(last)) if first <= last => bounded(first, last, size),
        _ => Part::Whole,
    }
}

fn bounded(first: u64, last: u64, size: u64) -> Part {
    match size.checked_sub(1) {
        Some(end) if first <= end => Part::Range { first, last: last.min(end) },
        _ => Part::Unsatisfiable,
    }
}

/// A number of digits alone; one that is too large is as large as can be.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let range = |first, last| Part::Range { first, last };
        let rows = [
            // The examples of RFC 9110, section 14.1.2, for 10,000 bytes.
            ("bytes=0-499", 10_000, range(0, 499)),
            ("bytes=500-999", 10_000, range(500, 999)),
            ("bytes=-500", 10_000, range(9500, 9999)),
            ("bytes=9500-", 10_000, range(9500, 9999)),
            ("bytes=0-0", 10_000, range(0, 0)),
            ("bytes=-1", 10_000, range(9999, 9999)),
            ("bytes=0-0,-1", 10_000, Part::Whole),
            ("bytes=9999-20000", 10_000, range(9999, 9999)),
            ("bytes=-20000", 10_000, range(0, 9999)),
            ("bytes=10000-", 10_000, Part::Unsatisfiable),
            ("bytes=-0", 10_000, Part::Unsatisfiable),
            ("bytes=0-", 0, Part::Unsatisfiable),
            ("bytes=-5", 0, Part::Unsatisfiable),
            ("bytes=99999999999999999999-", 10, Part::Unsatisfiable),
            ("bytes=0-99999999999999999999", 10, range(0, 9)),
            ("BYTES=1-2", 10, range(1, 2)),
            ("bytes=2-1", 10, Part::Whole),
            ("bytes=-", 10, Part::Whole),
            ("bytes=a-b", 10, Part::Whole),
            ("bytes=+1-2", 10, Part::Whole),
            ("items=0-1", 10, Part::Whole),
            ("bytes", 10, Part::Whole),
            ("", 10, Part::Whole),
        ];
        for (header, size, part) in rows {
            assert_eq!(read(header, size), part, "{header:?} of {size}");
        }
    }
}
