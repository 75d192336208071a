//! The answer to an association request (PS3.8 section 9.3): pure.

use std::collections::BTreeMap;

use contract::radiograph::decodes_transfer_syntax;
use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason, AssociationRJSource,
    AssociationRQ, PresentationContextProposed, PresentationContextResult, PresentationContextResultReason,
    UserVariableItem,
};

use super::{DicomConfig, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

/// DICOM's only application context.
pub(super) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";

/// What may be sent on a presentation context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// The SOP class it is for.
    pub(super) sop_class_uid: String,
    /// How data sets on it are written.
    pub(super) transfer_syntax: String,
}

/// What was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// The answer.
    pub(super) answer: AssociationAC,
    /// The presentation contexts that were accepted, by number.
    pub(super) contexts: BTreeMap<u8, Context>,
}

/// Accepts or refuses a request.
pub(super) fn negotiate(request: &AssociationRQ, config: &DicomConfig) -> Result<Agreement, AssociationRJ> {
    use AssociationRJServiceUserReason as Reason;
    let refused = |reason| Err(rejection(AssociationRJSource::ServiceUser(reason)));
    // Bit 0 stands for version 1.
    if request.protocol_version & 1 == 0 {
        return Err(rejection(AssociationRJSource::ServiceProviderASCE(
            AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported,
        )));
    }
    if uid(&request.application_context_name) != APPLICATION_CONTEXT {
        return refused(Reason::ApplicationContextNameNotSupported);
    }
    if request.called_ae_title.trim() != config.ae_title {
        return refused(Reason::CalledAETitleNotRecognized);
    }
    if !config.calling_ae_titles.iter().any(|title| title == request.calling_ae_title.trim()) {
        return refused(Reason::CallingAETitleNotRecognized);
    }

    let mut contexts = BTreeMap::new();
    let mut results = Vec::new();
    for proposed in &request.presentation_contexts {
        let chosen = choose(proposed, config);
        // A refused context names a transfer syntax too; nobody looks at it.
        let (reason, transfer_syntax) = match chosen {
            Ok(syntax) => (PresentationContextResultReason::Acceptance, syntax.to_owned()),
            Err(reason) => (reason, uids::IMPLICIT_VR_LITTLE_ENDIAN.to_owned()),
        };
        if reason == PresentationContextResultReason::Acceptance {
            let sop_class_uid = uid(&proposed.abstract_syntax).to_owned();
            contexts.insert(proposed.id, Context { sop_class_uid, transfer_syntax: transfer_syntax.clone() });
        }
        results.push(PresentationContextResult { id: proposed.id, reason, transfer_syntax });
    }
    let answer = AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title.clone(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables: vec![
            UserVariableItem::MaxLength(config.pdu_max_bytes),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
        ],
    };
    Ok(Agreement { answer, contexts })
}

/// The first transfer syntax that the sender likes and the decoder knows.
fn choose<'a>(
    proposed: &'a PresentationContextProposed,
    config: &DicomConfig,
) -> Result<&'a str, PresentationContextResultReason> {
    let class = uid(&proposed.abstract_syntax);
    let verification = class == uids::VERIFICATION;
    if !verification && !config.storage_classes.iter().any(|allowed| allowed.uid() == class) {
        return Err(PresentationContextResultReason::AbstractSyntaxNotSupported);
    }
    // Context numbers are odd.
    if proposed.id.is_multiple_of(2) {
        return Err(PresentationContextResultReason::NoReason);
    }
    let syntaxes = proposed.transfer_syntaxes.iter().map(|syntax| uid(syntax));
    syntaxes
        .into_iter()
        .find(|syntax| decodes_transfer_syntax(syntax))
        .ok_or(PresentationContextResultReason::TransferSyntaxesNotSupported)
}

/// A UID without its padding.
fn uid(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace())
}

fn rejection(source: AssociationRJSource) -> AssociationRJ {
    AssociationRJ { result: AssociationRJResult::Permanent, source }
}

/// What is said when as many associations are open as may be: come again later.
pub(super) fn busy() -> AssociationRJ {
    AssociationRJ {
        result: AssociationRJResult::Transient,
        source: AssociationRJSource::ServiceProviderPresentation(
            AssociationRJServiceProviderPresentationReason::LocalLimitExceeded,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::StorageClass;
    use super::*;

    fn request(contexts: &[(&str, &[&str])]) -> AssociationRQ {
        let contexts = contexts.iter().zip((1u8..).step_by(2));
        AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "DIGITISER".to_owned(),
            called_ae_title: "ULNA".to_owned(),
            application_context_name: format!("{APPLICATION_CONTEXT}\0"),
            presentation_contexts: contexts
                .map(|((class, syntaxes), id)| PresentationContextProposed {
                    id,
                    abstract_syntax: (*class).to_owned(),
                    transfer_syntaxes: syntaxes.iter().map(|&syntax| syntax.to_owned()).collect(),
                })
                .collect(),
            user_variables: Vec::new(),
        }
    }

    fn config() -> DicomConfig {
        DicomConfig {
            calling_ae_titles: vec!["DIGITISER".to_owned()],
            ..toml::from_str("calling_ae_titles = []").unwrap()
        }
    }

    #[test]
    fn only_allowed_classes_in_syntaxes_that_can_be_decoded_are_accepted() {
        let request = request(&[
            (uids::VERIFICATION, &[uids::IMPLICIT_VR_LITTLE_ENDIAN]),
            (uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE, &[uids::JPEGLS_LOSSLESS, uids::JPEG2000_LOSSLESS]),
            (uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION, &[uids::JPEGLS_LOSSLESS]),
            (uids::BASIC_TEXT_SR_STORAGE, &[uids::EXPLICIT_VR_LITTLE_ENDIAN]),
            (uids::SECONDARY_CAPTURE_IMAGE_STORAGE, &["1.2.840.10008.1.2.1\0"]),
        ]);
        let agreement = negotiate(&request, &config()).unwrap();
        use PresentationContextResultReason as Reason;
        let reasons: Vec<Reason> =
            agreement.answer.presentation_contexts.iter().map(|context| context.reason.clone()).collect();
        assert_eq!(
            reasons,
            [
                Reason::Acceptance,
                Reason::Acceptance,
                Reason::TransferSyntaxesNotSupported,
                Reason::AbstractSyntaxNotSupported,
                Reason::Acceptance
            ]
        );
        let syntaxes: Vec<(u8, &str)> =
            agreement.contexts.iter().map(|(id, context)| (*id, context.transfer_syntax.as_str())).collect();
        let expected = [
            (1, uids::IMPLICIT_VR_LITTLE_ENDIAN),
            (3, uids::JPEG2000_LOSSLESS),
            (9, uids::EXPLICIT_VR_LITTLE_ENDIAN),
        ];
        assert_eq!(syntaxes, expected);
        let fewer = DicomConfig { storage_classes: vec![StorageClass::Dx], ..config() };
        assert_eq!(negotiate(&request, &fewer).unwrap().contexts.len(), 1, "verification alone");
    }

    #[test]
    fn strangers_are_refused_by_name() {
        use AssociationRJServiceUserReason as Reason;
        let good = request(&[]);
        let reason = |request: &AssociationRQ| negotiate(request, &config()).unwrap_err().source;
        let stranger = AssociationRQ { calling_ae_title: "digitiser".to_owned(), ..good.clone() };
        assert_eq!(reason(&stranger), AssociationRJSource::ServiceUser(Reason::CallingAETitleNotRecognized));
        let misdirected = AssociationRQ { called_ae_title: "PACS".to_owned(), ..good.clone() };
        assert_eq!(
            reason(&misdirected),
            AssociationRJSource::ServiceUser(Reason::CalledAETitleNotRecognized)
        );
        let foreign = AssociationRQ { application_context_name: "1.2".to_owned(), ..good.clone() };
        let expected = AssociationRJSource::ServiceUser(Reason::ApplicationContextNameNotSupported);
        assert_eq!(reason(&foreign), expected);
        assert!(negotiate(&AssociationRQ { protocol_version: 2, ..good.clone() }, &config()).is_err());
        assert!(negotiate(&AssociationRQ { protocol_version: 3, ..good }, &config()).is_ok());
    }
}
