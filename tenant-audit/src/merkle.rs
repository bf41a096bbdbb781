//! The Merkle tree of RFC 6962 §2.1, over the heads of all chains.

use sha2::{Digest, Sha256};

use crate::chain::Hash;

/// A leaf's hash.
pub(crate) fn leaf(data: &[u8]) -> Hash {
    Sha256::new_with_prefix([0])
        .chain_update(data)
        .finalize()
        .into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new_with_prefix([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The largest power of two below `count`, for two and more.
const fn split(count: usize) -> usize {
    match count.saturating_sub(1).checked_ilog2() {
        Some(bits) => 1 << bits,
        None => 0,
    }
}

/// The tree's root. It recurses as deep as the logarithm of the leaves' number.
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The inclusion proof of the leaf at `index` (§2.1.1): siblings from the leaf up. `None`: there is no such
/// leaf.
pub(crate) fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    match leaves {
        [] => None,
        [_] => (index == 0).then(Vec::new),
        more => {
            let at = split(more.len());
            let (left, right) = more.split_at(at);
            let (mut path, sibling) = match index.checked_sub(at) {
                None => (path(left, index)?, root(right)),
                Some(index) => (path(right, index)?, root(left)),
            };
            path.push(sibling);
            Some(path)
        }
    }
}

/// The root that a leaf and its path lead to (RFC 9162 §2.1.3.2); `None` if the path has another length than
/// the place asks for.
pub(crate) fn climb(leaf: Hash, index: usize, count: usize, path: &[Hash]) -> Option<Hash> {
    if count == 1 {
        return (index == 0 && path.is_empty()).then_some(leaf);
    }
    if index >= count {
        return None;
    }
    let (sibling, below) = path.split_last()?;
    let at = split(count);
    match index.checked_sub(at) {
        None => Some(node(&climb(leaf, index, at, below)?, sibling)),
        Some(index) => {
            let right = climb(leaf, index, count.checked_sub(at)?, below)?;
            Some(node(sibling, &right))
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    #[test]
    fn known_roots() {
        // RFC 6962's empty tree, and the tree of the first test vectors of certificate-transparency-go.
        assert_eq!(
            hex::encode(root(&[])),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let inputs: [&[u8]; 4] = [b"", b"\x00", b"\x10", b"\x20\x21"];
        let leaves: Vec<Hash> = inputs.iter().map(|data| leaf(data)).collect();
        for (count, expected) in [
            (
                1,
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            ),
            (
                2,
                "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            ),
            (
                3,
                "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            ),
            (
                4,
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ),
        ] {
            assert_eq!(hex::encode(root(&leaves[..count])), expected, "{count}");
        }
    }

    proptest! {
        #[test]
        fn every_leaf_has_one_path_and_no_other_place((count, index) in (1_usize..70).prop_flat_map(|count| (Just(count), 0..count)), other in 0_usize..70, flip in 0_usize..8) {
            let leaves = leaves(count);
            let proof = path(&leaves, index).unwrap();
            let expected = Some(root(&leaves));
            prop_assert_eq!(climb(leaves[index], index, count, &proof), expected);
            if other != index {
                prop_assert_ne!(climb(leaves[index], other, count, &proof), expected);
            }
            let mut wrong = proof.clone();
            if let Some(hash) = wrong.get_mut(flip) {
                hash[0] ^= 1;
                prop_assert_ne!(climb(leaves[index], index, count, &wrong), expected);
            }
            wrong = proof.clone();
            wrong.push([0; 32]);
            prop_assert_eq!(climb(leaves[index], index, count, &wrong), None);
        }
    }
}
