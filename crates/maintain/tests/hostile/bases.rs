//! Chains of bases.

use super::*;

/// Versions of a content, each a little different from the one before.
pub fn versions(count: usize) -> Vec<Vec<u8>> {
    let mut version = noise(4000, 42);
    (0..count)
        .map(|n| {
            version[n * 37 % 4000] ^= 0x55;
            version.clone()
        })
        .collect()
}

/// A chain: each version's base is the one before; the first has `first`, or none.
pub fn forge_chain(versions: &[Vec<u8>], first: Option<(Base, &[u8])>) -> Forge {
    let mut forge = Forge::default();
    let mut base = first.map(|(base, plain)| (base, plain.to_vec()));
    for version in versions {
        let at = match &base {
            None => forge.add(RecordKind::Chunk, Codec::Raw, version).unwrap(),
            Some((base, plain)) => forge.add_above(*base, plain, version).unwrap(),
        };
        base = Some((Base::Same(at), version.clone()));
    }
    forge
}

#[test]
fn chains_of_bases_are_read_up_to_the_allowed_depth() {
    let _bounded = bounded();
    // One content without a base and 32 above it; a 33rd is too much.
    let versions = versions(34);
    let (_folder, store) = new_store();
    let forge = forge_chain(&versions, None);
    assert!(forge.rows[9].stored < 200, "the base is used");
    forge.write(&**store.backend()).unwrap();
    maintain::reindex(&store, Watch::default()).unwrap();
    for (depth, version) in versions.iter().enumerate() {
        let read = read_chunk(&store, version);
        if depth <= 32 {
            read.unwrap_or_else(|error| panic!("depth {depth}: {error}"));
        } else {
            let error = assert_corrupt(read, "depth 33");
            assert!(error.to_string().contains("more than 32 bases"), "{error}");
        }
    }
    let found = findings(&store).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].fault.contains(&digest::plain(&versions[33]).to_string()));
}

#[test]
fn a_base_in_another_pack_is_read_and_its_loss_is_found() {
    let _bounded = bounded();
    let versions = versions(33);
    let (_folder, store) = new_store();
    let backend = store.backend();
    let below = forge_chain(&versions[..1], None);
    let pack = below.write(&**backend).unwrap();
    let above = forge_chain(&versions[1..], Some((below.base(pack, 0), &versions[0])));
    above.write(&**backend).unwrap();
    maintain::reindex(&store, Watch::default()).unwrap();
    versions.iter().for_each(|version| read_chunk(&store, version).unwrap());
    assert_eq!(findings(&store).unwrap(), []);
    // A push takes them for known, and a revision stands on them.
    let tree =
        MemorySource::of(versions.iter().enumerate().map(|(n, v)| (format!("{n:02}"), &v[..])));
    let made = push_tree(&store, &tree, &PushOptions::default()).unwrap();
    // Their SHA-1s are listed anew, and nothing of the 132,000 bytes is stored again.
    assert!(made.bytes_stored < 16_000, "{}", made.bytes_stored);
    assert!(Reading::new(&store).revision(&made.id).unwrap() == tree);
    backend.remove(&freestone_testkit::pack_name(&pack)).unwrap();
    let store = reopened(&store);
    assert!(!quick_findings(&store).is_empty());
    let error = assert_corrupt(read_chunk(&store, &versions[5]), "the base is gone");
    assert!(error.to_string().contains(&pack.to_string()), "{error}");
}

#[test]
fn merging_keeps_bases_and_every_record_findable() {
    let _bounded = bounded();
    let versions = versions(3);
    let (_folder, store) = new_store();
    let backend = store.backend();
    let mut below = forge_chain(&versions[..1], None);
    // Long segments are merged last: what leans on it comes first.
    for n in 0..50u8 {
        below.add(RecordKind::Chunk, Codec::Raw, &[n; 10]).unwrap();
    }
    let pack = below.write(&**backend).unwrap();
    write_segment(&**backend, 1, below.listed(pack)).unwrap();
    let above = forge_chain(&versions[1..], Some((below.base(pack, 0), &versions[0])));
    let above_pack = above.write(&**backend).unwrap();
    // The base's place again, in the segment of what leans on it; its id is not known there.
    let mut parts = above.listed(above_pack);
    let base_row = parts.rows.len() as u64;
    parts.packs.push(below.listed(pack).packs[0]);
    let mut base = below.listed(pack).rows[0];
    (base.prefix, base.pack) = ([0; 5], 1);
    parts.rows.push(base);
    parts.rows[0].base = Some(base_row);
    write_segment(&**backend, 2, parts).unwrap();
    versions.iter().for_each(|version| read_chunk(&store, version).unwrap());
    for n in 0..8u8 {
        push_tree(&store, &MemorySource::of([("a", [n])]), &PushOptions::default()).unwrap();
    }
    let store = reopened(&store);
    let tiers: Vec<u8> = store.index().unwrap().segments().iter().map(|s| s.tier).collect();
    assert!(tiers.contains(&1) && tiers.len() < 8, "{tiers:?}");
    versions.iter().for_each(|version| read_chunk(&store, version).unwrap());
    assert_eq!(findings(&store).unwrap(), []);
}

#[test]
fn zeros_can_be_a_base_too() {
    let _bounded = bounded();
    let (_folder, store) = new_store();
    let mut forge = Forge::default();
    let zeros = vec![0; 3000];
    let mut plain = zeros.clone();
    plain[1000..1100].copy_from_slice(&noise(100, 1));
    let at = forge.add(RecordKind::Chunk, Codec::Zeros, &zeros).unwrap();
    forge.add_above(Base::Same(at), &zeros, &plain).unwrap();
    forge.write(&**store.backend()).unwrap();
    maintain::reindex(&store, Watch::default()).unwrap();
    read_chunk(&store, &plain).unwrap();
    assert_eq!(findings(&store).unwrap(), []);
}
