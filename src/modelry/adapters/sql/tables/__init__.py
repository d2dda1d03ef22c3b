"""Every table, a file per area. `tenant_id` leads the primary key of each and is part of each
foreign key, so that no row can ever refer to another tenant's.
"""

from modelry.adapters.sql.tables.access import (
    ApiKeyRow,
    MemberRow,
    ServerSettingRow,
    TenantDeletionRow,
    TenantRow,
)
from modelry.adapters.sql.tables.audit import AuditEntryRow, AuditHeadRow
from modelry.adapters.sql.tables.base import Base, TenantScoped
from modelry.adapters.sql.tables.catalog import (
    AliasMoveRow,
    AliasRow,
    BlobRow,
    ModelRow,
    UploadRow,
    VersionFileRow,
    VersionRow,
)
from modelry.adapters.sql.tables.datasets import DatasetRow, DatasetShardRow, DatasetVersionRow
from modelry.adapters.sql.tables.deployments import (
    DeploymentGrantRow,
    DeploymentRow,
    TrafficShareRow,
)
from modelry.adapters.sql.tables.encryption import DataKeyRow
from modelry.adapters.sql.tables.evaluation import EvaluationRow
from modelry.adapters.sql.tables.explanations import ExplanationRow
from modelry.adapters.sql.tables.files import FileRow
from modelry.adapters.sql.tables.jobs import (
    JobArtefactRow,
    JobAttemptRow,
    JobCheckpointRow,
    JobDependencyRow,
    JobEventRow,
    JobLeaseRow,
    JobRow,
)
from modelry.adapters.sql.tables.privacy import (
    LoggingRuleRow,
    RequestLogRow,
    RetentionRow,
)
from modelry.adapters.sql.tables.quotas import (
    GatewayRow,
    QuotaLimitsRow,
    QuotaOpenRow,
    QuotaUseRow,
)
from modelry.adapters.sql.tables.sessions import SessionRow
from modelry.adapters.sql.tables.training import LineageRow
from modelry.adapters.sql.tables.usage import PriceRow, UsageRow, UsageSegmentRow

__all__ = [
    "AliasMoveRow",
    "AliasRow",
    "ApiKeyRow",
    "AuditEntryRow",
    "AuditHeadRow",
    "Base",
    "BlobRow",
    "DataKeyRow",
    "DatasetRow",
    "DatasetShardRow",
    "DatasetVersionRow",
    "DeploymentGrantRow",
    "DeploymentRow",
    "EvaluationRow",
    "ExplanationRow",
    "FileRow",
    "GatewayRow",
    "JobArtefactRow",
    "JobAttemptRow",
    "JobCheckpointRow",
    "JobDependencyRow",
    "JobEventRow",
    "JobLeaseRow",
    "JobRow",
    "LineageRow",
    "LoggingRuleRow",
    "MemberRow",
    "ModelRow",
    "PriceRow",
    "QuotaLimitsRow",
    "QuotaOpenRow",
    "QuotaUseRow",
    "RequestLogRow",
    "RetentionRow",
    "ServerSettingRow",
    "SessionRow",
    "TenantDeletionRow",
    "TenantRow",
    "TenantScoped",
    "TrafficShareRow",
    "UploadRow",
    "UsageRow",
    "UsageSegmentRow",
    "VersionFileRow",
    "VersionRow",
]
