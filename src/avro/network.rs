//! Addresses as PostgreSQL prints them.

use std::fmt::Write as _;

use super::binary::take;
use super::transcode::Bad;

/// An inet or cidr: family, bits of the mask, whether it is a cidr, length, address (`network_send`).
pub(super) fn inet(field: &[u8], text: &mut String) -> Result<(), Bad> {
    const V4: u8 = 2;
    const V6: u8 = 3;
    let mut rest = field;
    let [family, mask, is_cidr, length] = take::<4>(&mut rest)?;
    if usize::from(length) != rest.len() {
        return Err(Bad::Length);
    }
    let most = match family {
        V4 => {
            let [a, b, c, d] = take::<4>(&mut rest)?;
            let _ = write!(text, "{a}.{b}.{c}.{d}");
            32
        }
        V6 => {
            v6(take::<16>(&mut rest)?, text);
            128
        }
        _ => return Err(Bad::Content),
    };
    if !rest.is_empty() || mask > most {
        return Err(Bad::Content);
    }
    // A cidr shows its mask in any case, an inet one that leaves something out.
    if is_cidr != 0 || mask < most {
        let _ = write!(text, "/{mask}");
    }
    Ok(())
}

/// The first longest run of two zero words or more is left out, and an address of IPv4 inside is printed as one
/// (PostgreSQL's `inet_net_ntop_ipv6`).
fn v6(bytes: [u8; 16], text: &mut String) {
    let (pairs, _) = bytes.as_chunks::<2>();
    let words: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    let (mut best, mut run): ((usize, usize), (usize, usize)) = ((0, 0), (0, 0));
    for (at, word) in words.iter().enumerate() {
        run = match word {
            0 if run.1 == 0 => (at, 1),
            0 => (run.0, run.1 + 1),
            _ => (0, 0),
        };
        if run.1 > best.1 {
            best = run;
        }
    }
    let (start, length) = if best.1 >= 2 { best } else { (words.len(), 0) };
    let sixth = words.get(5) == Some(&0xffff);
    let embedded = start == 0 && (length == 6 || (length == 7 && words.get(7) != Some(&1)) || (length == 5 && sixth));
    for (at, word) in words.iter().enumerate() {
        if (start..start + length).contains(&at) {
            if at == start {
                text.push(':');
            }
            continue;
        }
        if at > 0 {
            text.push(':');
        }
        if at == 6 && embedded {
            let [.., a, b, c, d] = bytes;
            let _ = write!(text, "{a}.{b}.{c}.{d}");
            return;
        }
        let _ = write!(text, "{word:x}");
    }
    if length > 0 && start + length == words.len() {
        text.push(':');
    }
}

/// A macaddr or macaddr8.
pub(super) fn mac(field: &[u8], text: &mut String) -> Result<(), Bad> {
    if !matches!(field.len(), 6 | 8) {
        return Err(Bad::Length);
    }
    for (at, byte) in field.iter().enumerate() {
        let _ = write!(text, "{}{byte:02x}", if at > 0 { ":" } else { "" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_postgresql_does() {
        let printed = |words: [u16; 8]| {
            let mut text = String::new();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            v6(bytes.try_into().unwrap(), &mut text);
            text
        };
        for (words, expected) in [
            ([0, 0, 0, 0, 0, 0, 0, 0], "::"),
            ([0, 0, 0, 0, 0, 0, 0, 1], "::1"),
            ([0, 0, 0, 0, 0, 0, 1, 2], "::0.1.0.2"),
            ([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1], "::ffff:10.0.0.1"),
            ([0x2001, 0xdb8, 0, 0, 1, 0, 0, 1], "2001:db8::1:0:0:1"),
            ([1, 0, 2, 0, 3, 0, 4, 0], "1:0:2:0:3:0:4:0"),
            ([0xfe80, 0, 0, 0, 0, 0, 0, 0], "fe80::"),
        ] {
            assert_eq!(printed(words), expected);
        }
    }

    #[test]
    fn an_address_that_cannot_be_is_refused() {
        for field in [&[2, 32, 0, 4, 1, 2, 3][..], &[4, 32, 0, 4, 1, 2, 3, 4], &[2, 33, 0, 4, 1, 2, 3, 4], &[]] {
            assert!(inet(field, &mut String::new()).is_err(), "{field:?}");
        }
        assert_eq!(mac(&[0; 7], &mut String::new()), Err(Bad::Length));
    }
}
