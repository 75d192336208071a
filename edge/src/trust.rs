//! Who may give orders: minisign keys that the configuration trusts, and signatures held against them.
//!
//! Several keys may be trusted at once. That is how one is replaced: the new one is added, the senders change over, the
//! old one is removed. A key that is trusted for one purpose is trusted for nothing else: each purpose has a list of its
//! own.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minisign_verify::{Error, PublicKey, Signature};
use serde::Deserialize;

/// Most keys of one purpose; more than two or three are a rotation that nobody finished.
const KEYS_MAX: usize = 16;

/// `[trust]`: public keys, as minisign prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// Whose commands are executed.
    pub command_keys: Vec<TrustedKey>,
    /// Whose bundles are installed.
    pub bundle_keys: Vec<TrustedKey>,
}

impl TrustConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong and why.
    pub fn check(&self) -> Result<(), String> {
        check_list("trust.command_keys", &self.command_keys)?;
        check_list("trust.bundle_keys", &self.bundle_keys)?;
        match self.bundle_keys.iter().find(|key| self.command_keys.iter().any(|other| other.id == key.id)) {
            Some(key) => Err(format!(
                "trust.command_keys and trust.bundle_keys both hold {key}; each purpose has a key of its own, so that one that \
                 is stolen opens one door only"
            )),
            None => Ok(()),
        }
    }
}

fn check_list(name: &str, keys: &[TrustedKey]) -> Result<(), String> {
    if keys.len() > KEYS_MAX {
        return Err(format!("{name} holds {} keys; at most {KEYS_MAX} are read", keys.len()));
    }
    let twice = keys.iter().enumerate().find(|(at, key)| keys[..*at].iter().any(|other| other.id == key.id));
    match twice {
        Some((_, key)) => Err(format!("{name} holds two keys with the id {key}; remove one of them")),
        None => Ok(()),
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustedKey {
    key: PublicKey,
    id: String,
}

impl TrustedKey {
    /// The key's id as minisign shows it, such as `73CCFFE0A0776C11`.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl TryFrom<String> for TrustedKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // After the algorithm's two bytes: eight bytes, little-endian.
        const ID: std::ops::Range<usize> = 2..10;
        let wrong = || {
            format!(
                "`{text}` is not a minisign public key; expected the second line of the .pub file, which begins with RW"
            )
        };
        let key = PublicKey::from_base64(text.trim()).map_err(|_| wrong())?;
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| wrong())?;
        let id = bytes.get(ID).ok_or_else(wrong)?.iter().rev().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self { key, id })
    }
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not what minisign writes, or of its legacy kind.
    #[error("it is not a signature as `minisign -S` makes it")]
    NotASignature,
    /// By another key.
    #[error("it was made by a key that is not trusted here")]
    UnknownKey,
    /// By a trusted key's name, and not of these bytes.
    #[error("it is not of these bytes, which were changed after signing or signed by somebody else")]
    Forged,
}

/// The key among `keys` that has signed `message`; `signature` is a `.minisig` file's content.
///
/// # Errors
/// When none has.
pub fn verify<'a>(
    keys: &'a [TrustedKey],
    message: &[u8],
    signature: &str,
) -> Result<&'a TrustedKey, TrustError> {
    let signature = Signature::decode(signature).map_err(|_| TrustError::NotASignature)?;
    for trusted in keys {
        match trusted.key.verify(message, &signature, false) {
            Ok(()) => return Ok(trusted),
            Err(Error::UnexpectedKeyId) => {}
            Err(Error::UnexpectedAlgorithm | Error::UnsupportedAlgorithm) => {
                return Err(TrustError::NotASignature);
            }
            Err(_) => return Err(TrustError::Forged),
        }
    }
    Err(TrustError::UnknownKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with minisign 0.11 for this test; the secret keys were thrown away.
    const KEY: &str = "RWQRbHeg4P/MczUOcKuUBUe8w08BF6+8CIR/HVCVYj5r9O+37yu9uB1J";
    const OTHER: &str = "RWQka5VQBszukVfOzkDectVjBVuc/M0sBFrnIzF6q73Fd3PSZd+JhCEU";
    const MESSAGE: &[u8] = b"{\"a\":1}";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RUQRbHeg4P/McwStN1Yn3UDSoX13RovL4Uwkw9Ozah7eGuy3xEQY1nTpXkFsbSjkqGhJL5aAOooazI1UE8XI8VyY9WzZ9ES4SAc=\n\
        trusted comment: timestamp:1795646288\tfile:body.json\thashed\n\
        vndTJhzNMFd1Po75joJQa4WCTrxAhiq1SXGXbsUrbUyhECIGHIiHk2Iuk8lN7PZLiXf9p2SdETHmqXlNyAU7CQ==\n";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWQRbHeg4P/Mc2OzHF1+O2PV1IijBD+yK8GSN9Ty8KzWGqNLF0AHu/rnojtlWM/0O3u+q5cFxU9Ga+4tZvJhz10JUPX5I1I28QI=\n\
        trusted comment: timestamp:1795646288\tfile:body.json\n\
        H1UWCJkn7wUPsRd9m4EyLmEqPOmTCkEllVMKfWwlwDSuQjaMhg+5KmF2KbrlhO2pkvhO+W3cHsIXn7YrcRk0BA==\n";

    fn key(text: &str) -> TrustedKey {
        TrustedKey::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn any_of_the_trusted_keys_may_have_signed() {
        assert_eq!(key(KEY).id(), "73CCFFE0A0776C11");
        for keys in [vec![key(KEY)], vec![key(OTHER), key(KEY)], vec![key(KEY), key(OTHER)]] {
            assert_eq!(verify(&keys, MESSAGE, SIGNATURE), Ok(&key(KEY)));
        }
        assert_eq!(verify(&[key(OTHER)], MESSAGE, SIGNATURE), Err(TrustError::UnknownKey));
        assert_eq!(verify(&[], MESSAGE, SIGNATURE), Err(TrustError::UnknownKey));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let keys = [key(KEY)];
        for at in 0..MESSAGE.len() {
            let mut message = MESSAGE.to_vec();
            message[at] ^= 1;
            assert_eq!(verify(&keys, &message, SIGNATURE), Err(TrustError::Forged), "byte {at}");
        }
        assert_eq!(verify(&keys, b"", SIGNATURE), Err(TrustError::Forged));
        let comment = SIGNATURE.replace("file:body.json", "file:other.json");
        assert_eq!(verify(&keys, MESSAGE, &comment), Err(TrustError::Forged));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        for text in ["", "x", "untrusted comment: x\nRUQR\ntrusted comment: y\nAAAA\n", LEGACY, "\n\n\n\n"] {
            assert_eq!(verify(&[key(KEY)], MESSAGE, text), Err(TrustError::NotASignature), "{text}");
        }
        let cut = &SIGNATURE[..SIGNATURE.len() / 2];
        assert_eq!(verify(&[key(KEY)], MESSAGE, cut), Err(TrustError::NotASignature));
    }

    #[test]
    fn keys_are_checked_when_they_are_read() {
        for text in ["", "RWQ", "not base64!", &KEY[..40], "untrusted comment: minisign public key"] {
            assert!(TrustedKey::try_from(text.to_owned()).unwrap_err().contains("public key"), "{text}");
        }
        let check = |command_keys, bundle_keys| TrustConfig { command_keys, bundle_keys }.check();
        for (command, bundle) in [
            (vec![key(KEY), key(OTHER), key(KEY)], vec![]),
            (vec![], vec![key(KEY), key(KEY)]),
            (vec![key(OTHER), key(KEY)], vec![key(KEY)]),
        ] {
            assert!(check(command, bundle).unwrap_err().contains("73CCFFE0A0776C11"));
        }
        assert_eq!(check(vec![key(KEY)], vec![key(OTHER)]), Ok(()));
    }
}
