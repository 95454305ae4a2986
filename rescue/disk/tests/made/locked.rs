//! What is asked of every encrypted volume.
#![allow(
    clippy::allow_attributes,
    dead_code,
    reason = "each test binary uses its own share"
)]

use disk::extent::{Extent, ExtentMap};
use disk::fs::State;
use disk::layer::{Keys, Layer, Secret};
use disk::layout::{Content, Layout, Owner};
use disk::memory::MemorySource;
use disk::source::BlockSource;
use proptest::prelude::prop_assert;
use proptest::test_runner::TestCaseError;

pub fn key_file(bytes: &[u8]) -> Keys {
    Keys::new(vec![Secret::KeyFile(bytes.to_vec().into())])
}

pub fn typed(text: &str) -> Keys {
    Keys::new(vec![Secret::Passphrase(text.as_bytes().to_vec().into())])
}

pub fn layer_with(source: &dyn BlockSource, keys: &Keys) -> Layer {
    let mut layout = Layout::read_with(source, keys).unwrap();
    assert_eq!(layout.regions.len(), 1, "{layout:?}");
    match layout.regions.remove(0).owner {
        Owner::Disk(Content::Layer(layer)) => *layer,
        other => panic!("it is no layer: {other:?}"),
    }
}

/// Why it is kept whole.
pub fn refused(source: &dyn BlockSource, keys: &Keys) -> String {
    let layer = layer_with(source, keys);
    assert_eq!(layer.used(), ExtentMap::whole(source.size_bytes()));
    assert_eq!(layer.state, State::Locked);
    assert!(layer.volumes.is_empty());
    layer.whole.unwrap()
}

/// Its bytes are those that were encrypted, wherever a read begins and ends.
pub fn reads_as(layer: &Layer, source: &dyn BlockSource, keys: &Keys, plain: &[u8], name: &str) {
    let [inner] = &layer.volumes[..] else {
        panic!("{name}: {layer:?}")
    };
    let opened = layer.open(source, keys).unwrap();
    let through = opened.volume(source, inner);
    let mut read = vec![0; plain.len()];
    through.read_at(0, &mut read).unwrap();
    assert!(read == plain, "{name}: the plain bytes differ");
    for (at, len) in [(1, 1), (510, 4), (4095, 8194), (65_535, 200_000), (7, 16)] {
        let mut read = vec![0; len];
        through.read_at(at, &mut read).unwrap();
        let at = usize::try_from(at).unwrap();
        assert!(read == plain[at..at + len], "{name}: {len} bytes at {at}");
    }
    assert!(through.read_at(inner.size_bytes - 1, &mut [0; 2]).is_err());
}

/// Whatever the bytes say: no byte is called free that the header or an unread volume has.
pub fn is_sound(bytes: Vec<u8>, keys: &Keys) -> Result<(), TestCaseError> {
    let source = MemorySource::new(bytes);
    let layout = Layout::read_with(&source, keys).unwrap();
    for region in &layout.regions {
        let Some(Content::Layer(layer)) = region.content() else {
            continue;
        };
        let used = layer.used();
        prop_assert!(used.end() <= layer.size_bytes);
        prop_assert!(layer.own.difference(&used).is_empty());
        let mut dealt = layer.own.clone();
        let volumes = layer.volumes.iter();
        for extent in volumes.flat_map(|volume| volume.mapping.everything()) {
            let extent: Extent = extent;
            prop_assert!(dealt.within(extent).next().is_none());
            dealt.insert(extent);
        }
        if layer.whole.is_none() {
            prop_assert!(dealt == ExtentMap::whole(layer.size_bytes));
        }
    }
    Ok(())
}
