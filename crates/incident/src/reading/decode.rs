//! Makes UTF-8 of the bytes of a source, in bounded memory: unpacks gzip and zstd, reads UTF-16, and refuses what is no text.
//!
//! Invariant: what comes out is bounded by [`MAX_UNPACKED`] and, for what is packed, by [`MAX_RATIO`] times what went in, so that
//! no small file keeps a reader busy for ever. What is lost by that, or by a packed file that breaks off, is said.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::LogError;

/// Bytes at the beginning that decide what a source is.
const HEAD: u64 = 64 * 1024;
/// Most bytes that are unpacked.
const MAX_UNPACKED: u64 = 8 << 30;
/// Most bytes out of each packed byte, beyond the first [`FREE`]. Logs pack to a tenth, the most uniform ones to a hundredth.
const MAX_RATIO: u64 = 250;
const FREE: u64 = 64 << 20;
/// Capacity of the buffers in between.
const BUFFER: usize = 128 * 1024;

/// What happened on the way, told when the source has been read.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    broken: Rc<Cell<Option<&'static str>>>,
}

impl Faults {
    /// Why the end of the source is missing, if it is.
    pub(super) fn broken(&self) -> Option<&'static str> {
        self.broken.get()
    }
}

/// The source as text that may hold bytes that are no UTF-8, without a byte order mark.
pub(super) fn decode<'a, R: Read + 'a>(
    reader: R,
    faults: &Faults,
) -> Result<Box<dyn BufRead + 'a>, LogError> {
    let reader = with_head(reader)?;
    let unpacked: Box<dyn Read + 'a> = match head(&reader) {
        [0x1f, 0x8b, ..] => {
            let packed = Counted { reader, taken: Rc::default() };
            let taken = Rc::clone(&packed.taken);
            Box::new(Unpacked::new(
                MultiGzDecoder::new(BufReader::with_capacity(BUFFER, packed)),
                taken,
                faults,
            ))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let packed = Counted { reader, taken: Rc::default() };
            let taken = Rc::clone(&packed.taken);
            let packed = BufReader::with_capacity(BUFFER, packed);
            let frames = Frames { packed, decoder: FrameDecoder::new(), is_open: false };
            Box::new(Unpacked::new(frames, taken, faults))
        }
        _ => return text(reader),
    };
    text(with_head(unpacked)?)
}

type WithHead<R> = Chain<Cursor<Vec<u8>>, R>;

fn with_head<R: Read>(mut reader: R) -> Result<WithHead<R>, LogError> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head)?;
    Ok(Cursor::new(head).chain(reader))
}

fn head<R>(reader: &WithHead<R>) -> &[u8] {
    reader.get_ref().0.get_ref()
}

/// Reads what is not packed, or no more.
fn text<'a, R: Read + 'a>(reader: WithHead<R>) -> Result<Box<dyn BufRead + 'a>, LogError> {
    let head = head(&reader);
    if let Some(is_big) = utf16(head) {
        let reader = BufReader::with_capacity(BUFFER, reader);
        let decoder = Utf16 { reader, is_big, ready: Vec::new(), given: 0, high: None };
        let decoded = with_head(decoder)?;
        if let Some(reason) = reason_to_refuse(self::head(&decoded)) {
            return Err(LogError::Binary { reason });
        }
        return Ok(Box::new(BufReader::with_capacity(BUFFER, decoded)));
    }
    if let Some(reason) = reason_to_refuse(head) {
        return Err(LogError::Binary { reason });
    }
    let start = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let (mut head, rest) = reader.into_inner();
    head.set_position(start);
    Ok(Box::new(BufReader::with_capacity(BUFFER, head.chain(rest))))
}

/// Whether the text is UTF-16 and, if so, whether the high byte comes first. Without a mark it is told by its beginning:
/// log lines begin with ASCII, whose high bytes are zero.
fn utf16(head: &[u8]) -> Option<bool> {
    match head {
        [0xff, 0xfe, ..] => return Some(false),
        [0xfe, 0xff, ..] => return Some(true),
        _ => {}
    }
    let start = head.get(..64.min(head.len() & !1)).unwrap_or_default();
    let zeros = |at: usize| start.chunks_exact(2).filter(|pair| pair.get(at) == Some(&0)).count();
    let (pairs, first, second) = (start.len() / 2, zeros(0), zeros(1));
    match (first, second) {
        _ if pairs < 4 => None,
        (first, second) if second * 4 >= pairs * 3 && first * 8 <= pairs => Some(false),
        (first, second) if first * 4 >= pairs * 3 && second * 8 <= pairs => Some(true),
        _ => None,
    }
}

/// Why a source that begins like this is refused.
fn reason_to_refuse(head: &[u8]) -> Option<String> {
    const MAGIC: [(&[u8], &str); 9] = [
        (b"\xfd7zXZ", "it is compressed with xz; decompress it first"),
        (b"BZh", "it is compressed with bzip2; decompress it first"),
        (b"PK\x03\x04", "it is a ZIP archive; unpack it first"),
        (b"ElfFile\0", "it is a Windows event log; export its events as JSON first"),
        (b"SQLite format 3\0", "it is a database; export its rows first"),
        (b"\xd4\xc3\xb2\xa1", "it is a packet capture; let an IDS read it and give its alerts"),
        (b"\xa1\xb2\xc3\xd4", "it is a packet capture; let an IDS read it and give its alerts"),
        (b"\x4d\x3c\xb2\xa1", "it is a packet capture; let an IDS read it and give its alerts"),
        (b"\x0a\x0d\x0d\x0a", "it is a packet capture; let an IDS read it and give its alerts"),
    ];
    if let Some((_, reason)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some((*reason).to_owned());
    }
    // A log that was cut off while its writer went on has holes of zeros; they are no sign of anything else.
    let zeros = head.iter().filter(|&&byte| byte == 0).count();
    let control = head.iter().filter(|&&byte| byte < b' ' && !b"\0\t\n\r\x1b".contains(&byte)).count();
    let undecodable: usize = head.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    let (strange, rest) = (control + undecodable, head.len() - zeros);
    (strange * 10 > rest * 3).then(|| {
        format!(
            "{} % of its first {} bytes are no text; give alerts or log lines as a sensor or a host writes them",
            strange * 100 / rest.max(1),
            head.len()
        )
    })
}

/// Counts what is taken from a reader.
struct Counted<R> {
    reader: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.taken.set(self.taken.get().saturating_add(read as u64));
        Ok(read)
    }
}

/// What a decoder gives, up to the bounds. A decoder that fails ends the source, since what came before is evidence.
struct Unpacked<D> {
    decoder: D,
    given: u64,
    taken: Rc<Cell<u64>>,
    faults: Faults,
    is_over: bool,
}

impl<D> Unpacked<D> {
    fn new(decoder: D, taken: Rc<Cell<u64>>, faults: &Faults) -> Self {
        Unpacked { decoder, given: 0, taken, faults: faults.clone(), is_over: false }
    }

    fn end(&mut self, why: &'static str) -> usize {
        self.is_over = true;
        self.faults.broken.set(Some(why));
        0
    }
}

impl<D: Read> Read for Unpacked<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        let allowed = self.taken.get().saturating_mul(MAX_RATIO).saturating_add(FREE).min(MAX_UNPACKED);
        if self.given >= allowed {
            return Ok(self.end("it unpacks to far more than a log does, and was read no further"));
        }
        match self.decoder.read(buffer) {
            Ok(read) => {
                self.given = self.given.saturating_add(read as u64);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(_) => Ok(self.end("its compressed form breaks off or is damaged")),
        }
    }
}

/// The frames of a zstd file one behind the other.
struct Frames<R> {
    packed: BufReader<R>,
    decoder: FrameDecoder,
    is_open: bool,
}

impl<R: Read> Frames<R> {
    /// Begins the next frame; false at the end of the file.
    fn open(&mut self) -> io::Result<bool> {
        loop {
            if self.packed.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.packed.by_ref().take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_open && !self.open()? {
                return Ok(0);
            }
            self.is_open = true;
            while self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
                let wanted = buffer.len() - self.decoder.can_collect();
                self.decoder
                    .decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBytes(wanted))
                    .map_err(io::Error::other)?;
            }
            if self.decoder.can_collect() > 0 || buffer.is_empty() {
                return self.decoder.read(buffer);
            }
            self.is_open = false;
        }
    }
}

/// UTF-16 as UTF-8. What is no character is replaced.
struct Utf16<R> {
    reader: BufReader<R>,
    is_big: bool,
    /// Characters that did not fit the last buffer.
    ready: Vec<u8>,
    given: usize,
    /// A unit that begins a pair.
    high: Option<u16>,
}

impl<R: Read> Utf16<R> {
    fn unit(&mut self) -> io::Result<Option<u16>> {
        let mut pair = [0; 2];
        let mut filled = 0;
        while let Some(rest) = pair.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                // Half a unit at the end is no character.
                Ok(0) => return Ok(None),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(if self.is_big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }))
    }

    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.given = 0;
        let push = |out: &mut Vec<u8>, c: char| out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
        while self.ready.len() < BUFFER {
            let Some(unit) = self.unit()? else {
                if self.high.take().is_some() {
                    push(&mut self.ready, char::REPLACEMENT_CHARACTER);
                }
                break;
            };
            let units = match self.high.take() {
                Some(high) => vec![high, unit],
                None if (0xd800..0xdc00).contains(&unit) => {
                    self.high = Some(unit);
                    continue;
                }
                None => vec![unit],
            };
            for c in char::decode_utf16(units) {
                match c.unwrap_or(char::REPLACEMENT_CHARACTER) {
                    // The byte order mark.
                    '\u{feff}' => {}
                    c => push(&mut self.ready, c),
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given >= self.ready.len() {
            self.fill()?;
        }
        let ready = self.ready.get(self.given..).unwrap_or_default();
        let taken = ready.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..taken), ready.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.given += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> (String, Option<&'static str>) {
        let faults = Faults::default();
        let mut out = String::new();
        decode(bytes, &faults).unwrap().read_to_string(&mut out).unwrap();
        (out, faults.broken())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn packed_text_is_unpacked() {
        for pack in [gzip, zstd] {
            let twice = [pack(b"one\n"), pack(b"two\n")].concat();
            assert_eq!(read(&twice), ("one\ntwo\n".to_owned(), None));
        }
        let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0abc".as_slice(), &zstd(b"three")].concat();
        let framed = [zstd(b"two "), skipped].concat();
        assert_eq!(read(&framed).0, "two three");
    }

    #[test]
    fn a_packed_file_that_breaks_off_is_read_up_to_there() {
        let text: String =
            (0..100_000_u32).map(|n| format!("line {}\n", n.wrapping_mul(2_654_435_761))).collect();
        let whole = gzip(text.as_bytes());
        let (out, broken) = read(&whole[..whole.len() / 2]);
        assert!(text.starts_with(&out) && out.len() > text.len() / 3, "{}", out.len());
        assert!(broken.unwrap().contains("breaks off"));
    }

    #[test]
    fn a_bomb_goes_off_in_a_small_room() {
        let bomb = gzip(&vec![b' '; 128 << 20]);
        assert!(bomb.len() < 1 << 20);
        let faults = Faults::default();
        let out = io::copy(&mut decode(bomb.as_slice(), &faults).unwrap(), &mut io::sink()).unwrap();
        let allowed = FREE + bomb.len() as u64 * MAX_RATIO;
        assert!(out <= allowed + BUFFER as u64 && out < 128 << 20 || faults.broken().is_none(), "{out}");
    }

    #[test]
    fn utf_16_of_either_order_is_read_with_a_mark_or_without() {
        let text = "06/03 alert J\u{f6}rg \u{1f600}\r\nnext\n";
        let bytes = |is_big: bool| -> Vec<u8> {
            text.encode_utf16()
                .flat_map(|unit| if is_big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect()
        };
        assert_eq!(read(&[b"\xff\xfe".as_slice(), &bytes(false)].concat()).0, text);
        assert_eq!(read(&[b"\xfe\xff".as_slice(), &bytes(true)].concat()).0, text);
        assert_eq!(read(&bytes(false)).0, text);
        assert_eq!(read(&bytes(true)).0, text);
        assert_eq!(read(b"\xff\xfea\0\0\xd8").0, "a\u{fffd}", "half a pair");
    }

    #[test]
    fn what_is_no_text_is_refused_with_a_reason() {
        for (bytes, expected) in [
            (&b"\xfd7zXZ\x00"[..], "xz"),
            (b"ElfFile\0\0\0", "Windows event log"),
            (b"\x7fELF\x02\x01\x01\0\0\0", "no text"),
            (b"\x80\x81\x82\x83abc", "no text"),
        ] {
            let error = decode(bytes, &Faults::default()).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(read(b"\xef\xbb\xbftext\0\0\0text\n").0, "text\0\0\0text\n", "holes are let through");
    }
}
