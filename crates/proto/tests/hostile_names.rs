//! Names of files as strangers choose them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/common/hostile_names.rs"]
mod hostile_names;

use crvideo_proto::name::clean;

#[test]
fn every_name_of_the_corpus_becomes_harmless_and_cleaning_twice_changes_nothing() {
    let corpus = hostile_names::corpus();
    assert!(corpus.len() >= 2_000, "{} names", corpus.len());
    for name in &corpus {
        let cleaned = clean(name);
        hostile_names::judge(name, &cleaned);
        assert_eq!(clean(&cleaned), cleaned, "{name:?}");
    }
}
