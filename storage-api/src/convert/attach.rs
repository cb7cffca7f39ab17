//! The beginning of a link.

use freshet_storage_contract::{
    AttachProxy, AttachRefusal, Attached, ClusterUid, DeliverySeq, Feature, InterestVersion, PublishSeq,
    ShardAttachment, ShardResume, Term,
};

use super::{counted, incarnation, incarnation_bytes, list, required, shard};
use crate::{WireError, proto, server::AttachRequest, server::LinkNumber};

fn features(names: Vec<String>, field: &'static str) -> Result<Vec<Feature>, WireError> {
    list(names, field, |name| Ok(Feature(name)))
}

impl From<AttachRequest> for proto::AttachProxy {
    fn from(request: AttachRequest) -> Self {
        let proxy = request.proxy;
        Self {
            cluster_uid: proxy.cluster_uid.0,
            incarnation: incarnation_bytes(proxy.incarnation),
            proxy_name: proxy.proxy_name,
            protocol_version: proxy.protocol_version,
            features: proxy.features.into_iter().map(|f| f.0).collect(),
            highest_term: Some(proxy.highest_term.0),
            resume: proxy.resume.into_iter().map(Into::into).collect(),
            link: request.link.0,
        }
    }
}

impl TryFrom<proto::AttachProxy> for AttachRequest {
    type Error = WireError;

    fn try_from(attach: proto::AttachProxy) -> Result<Self, WireError> {
        Ok(Self {
            link: LinkNumber(counted(attach.link, "AttachProxy.link")?),
            proxy: AttachProxy {
                cluster_uid: ClusterUid(attach.cluster_uid),
                incarnation: incarnation(&attach.incarnation, "AttachProxy.incarnation")?,
                proxy_name: attach.proxy_name,
                // Any number: which ones are spoken is for the refusal to say.
                protocol_version: attach.protocol_version,
                features: features(attach.features, "AttachProxy.features")?,
                highest_term: Term(required(attach.highest_term, "AttachProxy.highest_term")?),
                resume: list(attach.resume, "AttachProxy.resume", TryInto::try_into)?,
            },
        })
    }
}

impl From<ShardResume> for proto::ShardResume {
    fn from(resume: ShardResume) -> Self {
        Self {
            shard: Some(resume.shard.0.into()),
            term: Some(resume.term.0),
            received: Some(resume.received.0),
        }
    }
}

impl TryFrom<proto::ShardResume> for ShardResume {
    type Error = WireError;

    fn try_from(resume: proto::ShardResume) -> Result<Self, WireError> {
        Ok(Self {
            shard: shard(resume.shard, "ShardResume.shard")?,
            term: Term(required(resume.term, "ShardResume.term")?),
            received: DeliverySeq(required(resume.received, "ShardResume.received")?),
        })
    }
}

impl From<Attached> for proto::Attached {
    fn from(attached: Attached) -> Self {
        Self {
            protocol_version: attached.protocol_version,
            features: attached.features.into_iter().map(|f| f.0).collect(),
            lease_ttl_ms: attached.lease_ttl_ms,
            shards: attached.shards.into(),
            placement_rules: attached.placement_rules,
            attachments: attached.attachments.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Attached> for Attached {
    type Error = WireError;

    fn try_from(attached: proto::Attached) -> Result<Self, WireError> {
        counted(attached.protocol_version.into(), "Attached.protocol_version")?;
        counted(attached.lease_ttl_ms.into(), "Attached.lease_ttl_ms")?;
        let shards = counted(attached.shards.into(), "Attached.shards")?;
        Ok(Self {
            protocol_version: attached.protocol_version,
            features: features(attached.features, "Attached.features")?,
            lease_ttl_ms: attached.lease_ttl_ms,
            shards: u16::try_from(shards).map_err(|_| WireError::Invalid {
                field: "Attached.shards",
                why: "more than there can be",
            })?,
            placement_rules: list(attached.placement_rules, "Attached.placement_rules", Ok)?,
            attachments: list(attached.attachments, "Attached.attachments", TryInto::try_into)?,
        })
    }
}

impl From<ShardAttachment> for proto::ShardAttachment {
    fn from(attachment: ShardAttachment) -> Self {
        Self {
            shard: Some(attachment.shard.0.into()),
            term: Some(attachment.term.0),
            interest_version: Some(attachment.interest_version.0),
            publish_seq: Some(attachment.publish_seq.0),
            overrun: attachment.overrun,
        }
    }
}

impl TryFrom<proto::ShardAttachment> for ShardAttachment {
    type Error = WireError;

    fn try_from(attachment: proto::ShardAttachment) -> Result<Self, WireError> {
        Ok(Self {
            shard: shard(attachment.shard, "ShardAttachment.shard")?,
            term: Term(required(attachment.term, "ShardAttachment.term")?),
            interest_version: InterestVersion(required(
                attachment.interest_version,
                "ShardAttachment.interest_version",
            )?),
            publish_seq: PublishSeq(required(attachment.publish_seq, "ShardAttachment.publish_seq")?),
            overrun: attachment.overrun,
        })
    }
}

impl From<AttachRefusal> for proto::AttachRefusal {
    fn from(refusal: AttachRefusal) -> Self {
        use proto::attach_refusal::Refusal;
        let refusal = match refusal {
            AttachRefusal::ForeignCluster { expected, found } => {
                Refusal::ForeignCluster(proto::ForeignCluster { expected, found })
            }
            AttachRefusal::UnknownVersion { lowest, highest, found } => {
                Refusal::UnknownVersion(proto::UnknownVersion { lowest, highest, found })
            }
            AttachRefusal::UnknownOperation { name } => Refusal::UnknownOperation(proto::UnknownOperation { name }),
            AttachRefusal::IncarnationGone { incarnation } => Refusal::IncarnationGone(proto::IncarnationGone {
                incarnation: incarnation_bytes(incarnation),
            }),
        };
        Self { refusal: Some(refusal) }
    }
}

impl TryFrom<proto::AttachRefusal> for AttachRefusal {
    type Error = WireError;

    fn try_from(refusal: proto::AttachRefusal) -> Result<Self, WireError> {
        use proto::attach_refusal::Refusal;
        Ok(match required(refusal.refusal, "AttachRefusal.refusal")? {
            Refusal::ForeignCluster(r) => Self::ForeignCluster {
                expected: r.expected,
                found: r.found,
            },
            Refusal::UnknownVersion(r) => Self::UnknownVersion {
                lowest: r.lowest,
                highest: r.highest,
                found: r.found,
            },
            Refusal::UnknownOperation(r) => Self::UnknownOperation { name: r.name },
            Refusal::IncarnationGone(r) => Self::IncarnationGone {
                incarnation: incarnation(&r.incarnation, "IncarnationGone.incarnation")?,
            },
        })
    }
}
