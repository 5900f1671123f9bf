//! Lines as they come over a serial line: whole, damaged, cut, too long, amid noise.

#[path = "../../../core/fuzz/src/protocol.rs"]
mod target;

use bantam_protocol::{
    Done, Event, Hello, Line, LineError, MAX_LINE, Receiver, Request, Side, Text,
};

/// What either side may say, with the lines that `boards/PROTOCOL.md` shows. Checksums are Python's
/// `binascii.crc_hqx(line, 0xFFFF)`.
const REQUESTS: [(u16, Request<'_>, &str); 3] = [
    (1, Request::Hello, ">1|hello*8502\n"),
    (2, Request::Ask(Text::new(b"oven to 180 please")), ">2|ask|oven to 180 please*c488\n"),
    (5, Request::Ask(Text::new(b"a*<>|%b")), ">5|ask|a%2a%3c%3e%7c%25b*e45b\n"),
];
const EVENTS: [(u16, Event<'_>, &str); 5] = [
    (
        0,
        Event::Hello(Hello {
            max_sentence: 95,
            board: Text::new(b"qemu-m7"),
            kernels: Text::new(b"arm/dsp"),
            model: Text::new(b"bantam-intent.Q8_0.gguf"),
        }),
        "<0|hello|1|95|qemu-m7|arm/dsp|bantam-intent.Q8_0.gguf*d6f8\n",
    ),
    (2, Event::Token { index: 0, bytes: Text::new(b"{\"") }, "<2|token|0|{\"*911c\n"),
    (
        2,
        Event::Done(Done { n_tokens: 18, hash: 0xf572_741a_62ab_9bef, instructions: 68_810_841 }),
        "<2|done|18|f572741a62ab9bef|68810841*3711\n",
    ),
    (
        3,
        Event::Error { status: 15, text: Text::new(b"a sentence has at most 95 bytes") },
        "<3|error|15|a sentence has at most 95 bytes*e396\n",
    ),
    (4, Event::Token { index: 1, bytes: Text::new(b"\xc3") }, "<4|token|1|%c3*d7a0\n"),
];

/// Every line above.
fn lines() -> impl Iterator<Item = &'static str> {
    REQUESTS.iter().map(|(.., line)| *line).chain(EVENTS.iter().map(|(.., line)| *line))
}

fn side(line: &str) -> Side {
    if line.starts_with('>') { Side::Host } else { Side::Board }
}

/// Calls `check` for everything that is received.
fn receive(side: Side, bytes: &[u8], mut check: impl FnMut(Result<Line<'_>, LineError>)) {
    let mut receiver = Receiver::new(side);
    for &byte in bytes {
        if let Some(result) = receiver.push(byte) {
            check(result);
        }
    }
}

/// Returns the errors among what is received, with the number of whole lines.
fn errors(side: Side, bytes: &[u8]) -> (usize, Vec<LineError>) {
    let (mut n, mut errors) = (0, Vec::new());
    receive(side, bytes, |result| match result {
        Ok(_) => n += 1,
        Err(error) => errors.push(error),
    });
    (n, errors)
}

#[test]
fn lines_are_written_and_read() {
    let mut buffer = [0; MAX_LINE];
    for (id, request, line) in REQUESTS {
        assert_eq!(request.write(id, &mut buffer), Ok(line.as_bytes()));
        receive(Side::Host, line.as_bytes(), |got| {
            let got = got.unwrap();
            assert_eq!((got.id, Request::read(got)), (id, Ok(request)));
        });
    }
    for (id, event, line) in EVENTS {
        assert_eq!(event.write(id, &mut buffer), Ok(line.as_bytes()));
        receive(Side::Board, line.as_bytes(), |got| {
            let got = got.unwrap();
            assert_eq!((got.id, Event::read(got)), (id, Ok(event)));
        });
    }
    assert!(lines().all(|line| errors(side(line), line.as_bytes()) == (1, vec![])));
    // A side's own lines, echoed, are none.
    let other = |line| if side(line) == Side::Host { Side::Board } else { Side::Host };
    assert!(lines().all(|line| errors(other(line), line.as_bytes()) == (0, vec![])));
}

/// Whatever a byte is changed to, no other line is read than the one that was written.
#[test]
fn a_damaged_byte_is_found() {
    for line in lines() {
        for at in 0..line.len() {
            for byte in 0..=255 {
                let mut damaged = line.as_bytes().to_vec();
                if damaged[at] == byte {
                    continue;
                }
                damaged[at] = byte;
                // What is left of it is found at the latest when the next line comes.
                damaged.extend(line.as_bytes());
                let (n, found) = errors(side(line), &damaged);
                assert_eq!(n, 1, "{:?}", String::from_utf8_lossy(&damaged));
                assert!(found.is_empty() || found == [LineError::Damaged], "{found:?}");
            }
        }
    }
}

/// A line that was cut off, by a reset say, does no harm to the one behind it.
#[test]
fn every_prefix() {
    for line in lines() {
        for cut in 0..line.len() {
            let prefix = &line.as_bytes()[..cut];
            assert_eq!(errors(side(line), prefix), (0, vec![]));
            let then = [prefix, line.as_bytes()].concat();
            assert_eq!(errors(side(line), &then), (1, vec![]));
            // With a line feed it is a line, but no whole one.
            let ended = [prefix, b"\n", line.as_bytes()].concat();
            let (n, found) = errors(side(line), &ended);
            assert_eq!(n, 1 + usize::from(cut + 1 == line.len()));
            assert!(found.iter().all(|error| *error == LineError::Damaged));
        }
    }
}

#[test]
fn noise_and_carriage_returns_between_lines() {
    for line in lines() {
        let noise = b"\n\r\n\x00\xff\xfe login: \x1b[0m*|%\n";
        let text = line.replace('\n', "\r\n");
        let all = [noise, text.as_bytes(), noise, line.as_bytes(), noise].concat();
        assert_eq!(errors(side(line), &all), (2, vec![]));
    }
}

#[test]
fn long_lines() {
    let mut buffer = [0; MAX_LINE];
    let text = [b'a'; MAX_LINE];
    // The longest: mark, number, word and bars, checksum and line feed.
    let most = MAX_LINE - b">5|ask|*0000\n".len();
    let line = Request::Ask(Text::new(&text[..most])).write(5, &mut buffer).unwrap().to_vec();
    assert_eq!((line.len(), errors(Side::Host, &line)), (MAX_LINE, (1, vec![])));
    assert!(Request::Ask(Text::new(&text[..=most])).write(5, &mut buffer).is_err());
    let mut longer = line.clone();
    longer.insert(10, b'a');
    longer.extend(REQUESTS[0].2.as_bytes());
    assert_eq!(errors(Side::Host, &longer), (1, vec![LineError::TooLong]));
    // One without an end is told once.
    let endless = [b">".to_vec(), vec![b'a'; 100_000]].concat();
    assert_eq!(errors(Side::Host, &endless), (0, vec![LineError::TooLong]));
    // Errors are told in any case, as far as they fit.
    let error = Event::Error { status: 10, text: Text::new(&[0xff; 200]) };
    let line = error.write(9, &mut buffer).unwrap().to_vec();
    receive(Side::Board, &line, |got| match Event::read(got.unwrap()) {
        Ok(Event::Error { text, .. }) => {
            let most = (MAX_LINE - b"<9|error|10|*0000\n".len()) / b"%ff".len();
            assert_eq!(text.bytes().count(), most);
        }
        other => panic!("{other:?}"),
    });
}

/// Lines with the right checksum that no writer of this version writes.
#[test]
fn lines_of_no_known_kind() {
    let unknown = |id| Err(LineError::Unknown { id });
    for (line, expected) in [
        (">5|sing*88dc", unknown(5)),
        (">5*5d63", unknown(5)),
        (">*366d", unknown(0)),
        (">x|hello*7322", unknown(0)),
        (">0|hello*3d63", unknown(0)),
        (">05|hello*74ec", unknown(0)),
        (">65536|hello*d415", unknown(0)),
        (">5|hello|*735b", unknown(5)),
        (">5|ask*af5d", unknown(5)),
        // More than one spelling.
        (">5|ask|%41*ad55", unknown(5)),
        (">5|ask|%7e*e277", unknown(5)),
        (">5|ask|%C3*1cd9", unknown(5)),
        (">5|ask|%c*e1f1", unknown(5)),
        (">5|ask|a\tb*7567", unknown(5)),
        (">5|ask|*a61e", Ok(())),
    ] {
        receive(Side::Host, format!("{line}\n").as_bytes(), |got| {
            assert_eq!(got.and_then(Request::read).map(drop), expected, "{line}");
        });
    }
    for (line, expected) in [
        ("<5|hello|2|whatever*5bb9", Err(LineError::Version { version: 2 })),
        ("<5|hello|65535|*fb9e", Err(LineError::Version { version: 65_535 })),
        ("<5|hello|65536|1*bf56", unknown(5)),
        ("<5|hello|01|1|a|b|c*2c6f", unknown(5)),
        ("<5|hello|1|x|a|b|c*d60e", unknown(5)),
        ("<5|done|1|f572741a62ab9be|1*167a", unknown(5)),
        ("<5|done|1|f572741a62ab9bef|18446744073709551616*81b7", unknown(5)),
        ("<5|error|256|x*e5bc", unknown(5)),
        ("<5|token|-1|x*86a2", unknown(5)),
        ("<5|token|1|x|y*749f", unknown(5)),
    ] {
        receive(Side::Board, format!("{line}\n").as_bytes(), |got| {
            assert_eq!(got.and_then(Event::read).map(drop), expected, "{line}");
        });
    }
}

/// The fuzz target over its seeds, these cut short, and random bytes of the kind that lines have.
#[test]
fn any_bytes() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/fuzz/seeds/protocol");
    let mut n = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        (0..bytes.len()).for_each(|cut| target::protocol(&bytes[..cut]));
        target::protocol(&bytes);
        n += 1;
    }
    assert!(n > 3, "only {n} seeds");

    let alphabet = b"<>|*%0125afhelotknask \n\r\x00\xff";
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..700 {
        let bytes: Vec<u8> = (0..round).map(|_| alphabet[random(alphabet.len())]).collect();
        target::protocol(&bytes);
    }
}

/// The document shows lines; they are those that this crate writes.
#[test]
fn the_document_shows_these_lines() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../PROTOCOL.md");
    let document = std::fs::read_to_string(document).unwrap();
    let mut n = 0;
    for line in document.lines().map(str::trim) {
        let is_line = line.starts_with(['<', '>']) && line.rfind('*') == line.len().checked_sub(5);
        if is_line {
            assert_eq!(errors(side(line), format!("{line}\n").as_bytes()), (1, vec![]), "{line}");
            n += 1;
        }
    }
    assert!(n >= 8, "only {n} lines");
    assert!(lines().all(|line| document.contains(line.trim_end())));
}
