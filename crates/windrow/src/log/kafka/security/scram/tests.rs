//! The examples of the RFCs, and brokers that are not what they should be.

use super::*;

/// RFC 7677, 3; and the same conversation in SHA-512, as computed by an implementation of its own (Python's hashlib and hmac).
const CONVERSATIONS: [(Hash, &str, &str); 2] = [
    (
        Hash::Sha256,
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
    (Hash::Sha512, SHA512_PROOF, SHA512_SIGNATURE),
];
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SAID: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const SHA512_PROOF: &str =
    "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
const SHA512_SIGNATURE: &str =
    "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";

fn opening(hash: Hash) -> Opening {
    Opening::new(hash, "user", "pencil", NONCE.into())
}

#[test]
fn the_examples_of_the_rfc_come_out_to_the_byte() {
    for (hash, proof, signature) in CONVERSATIONS {
        let opening = opening(hash);
        assert_eq!(opening.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer = opening.answer(SAID.as_bytes()).unwrap();
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(answer.message(), format!("c=biws,r={nonce},p={proof}"), "{hash:?}");
        assert_eq!(answer.verify(format!("v={signature}").as_bytes()), Ok(()), "{hash:?}");
    }
}

#[test]
fn commas_and_equals_signs_of_a_name_are_written_as_the_rfc_says() {
    let opening = Opening::new(Hash::Sha256, "a=b,c", "p", "n".into());
    assert_eq!(opening.message(), "n,,n=a=3Db=2Cc,r=n");
}

#[test]
fn a_first_answer_that_is_not_one_is_refused_with_the_reason() {
    let cases = [
        ("s=W22Z,i=4096", "lacks r="),
        ("m=x,r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=4096", "lacks r="),
        ("r=rOprNGfwEbeRWgbNEkqO1,i=4096", "lacks s="),
        ("r=rOprNGfwEbeRWgbNEkqO1,s=W22Z", "lacks i="),
        ("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", "does not continue ours"),
        ("r=another-nonce-of-nobody,s=W22Z,i=4096", "does not continue ours"),
        ("r=rOprNGfwEbeRWgbNEkqO1,s=***,i=4096", "not base64"),
        ("r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=many", "no number"),
        ("r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=4095", "4095 rounds"),
        ("r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=1000001", "1000001 rounds"),
        ("", "lacks r="),
    ];
    for (said, why) in cases {
        let told = opening(Hash::Sha256).answer(said.as_bytes()).map(|proof| proof.message().to_owned());
        assert!(told.as_ref().is_err_and(|told| told.contains(why)), "{said}: {told:?}");
    }
    assert!(opening(Hash::Sha256).answer(&[0xff]).is_err_and(|told| told.contains("UTF-8")));
    assert!(opening(Hash::Sha256).answer(&[b'a'; 5000]).is_err_and(|told| told.contains("5000 bytes")));
}

#[test]
fn a_broker_that_does_not_know_the_password_is_refused() {
    let proof = opening(Hash::Sha256).answer(SAID.as_bytes()).unwrap();
    let other = CONVERSATIONS[1].2;
    let cases = [
        ("e=invalid-proof", "invalid-proof"),
        ("v=AAAA", "signature is wrong"),
        (&*format!("v={other}"), "signature is wrong"),
        ("v=***", "no signature"),
        ("", "no signature"),
    ];
    for (said, why) in cases {
        let told = proof.verify(said.as_bytes());
        assert!(told.as_ref().is_err_and(|told| told.contains(why)), "{said}: {told:?}");
    }
}

proptest::proptest! {
    /// Nothing that a stranger says opens the door, or breaks it.
    #[test]
    fn no_text_is_taken_for_a_proof(said in "\\PC{0,60}", nonce in "[!-+.-~]{0,20}", rounds in 0_u32..6_000, last in "(v=|e=)?\\PC{0,40}") {
        let opening = opening(Hash::Sha256);
        let _ = opening.answer(said.as_bytes());
        let first = format!("r={NONCE}{nonce},s=W22Z,i={rounds}");
        match opening.answer(first.as_bytes()) {
            Ok(proof) => {
                proptest::prop_assert!(rounds >= ROUNDS_MIN && !nonce.is_empty());
                proptest::prop_assert!(proof.verify(last.as_bytes()).is_err());
            }
            Err(_) => proptest::prop_assert!(rounds < ROUNDS_MIN || nonce.is_empty()),
        }
    }
}
