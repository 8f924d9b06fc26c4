//! What went wrong with encryption, and what to do about it, in words for whoever reads the log.

use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// The certificate's key is not the pinned one.
#[derive(Debug)]
pub struct WrongPin {
    /// SHA-256 of the key that came, in hexadecimal digits.
    pub presented: String,
}

impl std::fmt::Display for WrongPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the SHA-256 of the server's public key is {}", self.presented)
    }
}

impl std::error::Error for WrongPin {}

/// Which check failed, and what to do.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented => {
            "the server showed no certificate; give the relay a certificate and its key".to_owned()
        }
        Error::InvalidMessage(_) => format!(
            "what came is not TLS ({error}); either the server speaks plain text (give it a certificate), or something \
             on the way has changed it"
        ),
        Error::DecryptError | Error::PeerSentOversizedRecord => {
            format!("what came was changed on the way, or is not TLS ({error}); look at what stands between")
        }
        Error::AlertReceived(alert) => alert_received(*alert),
        Error::PeerIncompatible(_) => {
            format!("the server knows no version or cipher that is safe ({error}); bring its software up to date")
        }
        _ => format!("{error}; look at the server's log"),
    }
}

fn alert_received(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            "it finds no version, cipher or key in common"
        }
        AlertDescription::UnrecognisedName => "it has no certificate for this name",
        AlertDescription::CertificateRequired => {
            "it wants a certificate from clients, which this library does not have"
        }
        AlertDescription::BadRecordMac | AlertDescription::DecryptError => "what it got was changed on the way",
        _ => "its log may say why",
    };
    format!("the server has ended the encryption ({alert:?}): {why}")
}

fn certificate(error: &CertificateError) -> String {
    use CertificateError as Bad;
    if let Bad::Other(OtherError(other)) = error
        && let Some(pin) = other.downcast_ref::<WrongPin>()
    {
        return format!(
            "the key check failed: {pin}, which is not the pinned one; if the relay has a new key, pin that one, else \
             somebody stands between"
        );
    }
    let (check, cure) = match error {
        Bad::Expired | Bad::ExpiredContext { .. } => {
            ("the date", "renew the relay's certificate, or correct this machine's clock")
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            ("the date", "correct this machine's clock, or wait until the certificate is valid")
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => (
            "the name",
            "connect by a name or address that stands in the certificate, or have it reissued with this one",
        ),
        Bad::UnknownIssuer => (
            "the issuer",
            "name the file of the authority's certificate as ca_file, or let the relay send the whole chain",
        ),
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            ("the purpose", "use a certificate that is for servers (extended key usage: server authentication)")
        }
        Bad::Revoked => ("the revocation", "give the relay another certificate"),
        Bad::BadSignature | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            ("a signature", "the chain is not whole, or its keys are too weak: RSA needs 2048 bits at least")
        }
        Bad::UnsupportedSignatureAlgorithmContext { .. } => {
            ("a signature's kind", "use SHA-256 or better with RSA, ECDSA or Ed25519")
        }
        Bad::BadEncoding => ("the form", "the certificate cannot be read; have it issued again"),
        _ => ("the certificate", "have it issued again, for a server and by an authority that this machine knows"),
    };
    format!("the check of {check} of the server's certificate failed ({error}); {cure}")
}
