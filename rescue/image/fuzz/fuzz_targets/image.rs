//! Opening, checking and salvaging any file as an image.

#![no_main]

use image::check;
use image::codec::Decoder;
use image::memory::MemoryStore;
use image::reader::{Piece, Reader};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "any.img.zst";
/// Pieces looked at in one input.
const PIECES: usize = 200;

fuzz_target!(|input: &[u8]| {
    let store = MemoryStore::new();
    store.put(NAME, input.to_vec());
    let Ok(reader) = Reader::open(&store, NAME) else {
        return;
    };
    let _ = check::index(&reader);
    let Ok(mut decoder) = Decoder::new() else {
        return;
    };
    let (mut stored, mut content) = (Vec::new(), Vec::new());
    let mut at = 0;
    for piece in reader.pieces().take(PIECES) {
        let Ok(piece) = piece else { return };
        assert_eq!(piece.extent().start(), at, "a gap or an overlap");
        at = piece.extent().end();
        let Piece::Entry(entry) = piece else { continue };
        let _ = reader.states(&entry);
        if reader.read_stored(&entry, &mut stored).is_ok()
            && decoder.decode(&reader, &entry, &stored, &mut content).is_err()
        {
            let _ = reader.salvage(&entry, &mut content);
        }
    }
});
