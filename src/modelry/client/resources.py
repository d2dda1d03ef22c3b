"""Groups of blocking methods, such as `client.models.list()`."""

from __future__ import annotations

from modelry.client.methods import SyncResource, blocking
from modelry.client.operations import (
    aliases,
    audit,
    datasets,
    deployments,
    encryption,
    keys,
    members,
    models,
    privacy,
    quotas,
    shares,
    tenants,
    usage,
)


class Models(SyncResource):
    """Models."""

    list = blocking(models.list_models)
    get = blocking(models.get_model)
    delete = blocking(models.delete_model)


class Versions(SyncResource):
    """Versions of models."""

    list = blocking(models.list_versions)
    get = blocking(models.get_version)
    delete = blocking(models.delete_version)


class Aliases(SyncResource):
    """Aliases of versions."""

    list = blocking(aliases.list_aliases)
    set = blocking(aliases.set_alias)
    delete = blocking(aliases.delete_alias)
    moves = blocking(aliases.list_alias_moves)


class Datasets(SyncResource):
    """Datasets and their versions."""

    import_ = blocking(datasets.import_files)
    start_import = blocking(datasets.start_import)
    from_arrays = blocking(datasets.from_arrays)
    derive = blocking(datasets.derive)
    start_derive = blocking(datasets.start_derive)
    await_version = blocking(datasets.await_version)
    list = blocking(datasets.list_datasets)
    versions = blocking(datasets.list_dataset_versions)
    get = blocking(datasets.get_dataset)
    rows = blocking(datasets.read_rows)
    delete = blocking(datasets.delete_dataset)


class Deployments(SyncResource):
    """Deployments and their replicas."""

    list = blocking(deployments.list_deployments)
    get = blocking(deployments.get_deployment)
    deploy = blocking(deployments.deploy)
    delete = blocking(deployments.undeploy)
    scale = blocking(deployments.scale)
    load = blocking(deployments.load)
    unload = blocking(deployments.unload)
    restart = blocking(deployments.restart)
    replicas = blocking(deployments.list_replicas)
    logs = blocking(deployments.logs)


class Keys(SyncResource):
    """API keys."""

    list = blocking(keys.list_keys)
    get = blocking(keys.get_key)
    create = blocking(keys.create_key)
    rename = blocking(keys.rename_key)
    rotate = blocking(keys.rotate_key)
    revoke = blocking(keys.revoke_key)
    whoami = blocking(keys.whoami)


class Encryption(SyncResource):
    """How what the server keeps is encrypted."""

    status = blocking(encryption.encryption_status)
    rotate = blocking(encryption.rotate_encryption)


class Quotas(SyncResource):
    """How much may be used."""

    mine = blocking(quotas.my_quotas)
    of_keys = blocking(quotas.key_limits)
    set_key = blocking(quotas.set_key_limits)
    clear_key = blocking(quotas.clear_key_limits)
    tenant = blocking(quotas.tenant_limits)
    set_tenant = blocking(quotas.set_tenant_limits)


class Audit(SyncResource):
    """The audit log."""

    list = blocking(audit.list_entries)
    head = blocking(audit.read_head)
    verify = blocking(audit.verify)


class Tenants(SyncResource):
    """The platform's tenants."""

    own = blocking(tenants.own_tenant)
    list = blocking(tenants.list_tenants)
    get = blocking(tenants.get_tenant)
    create = blocking(tenants.create_tenant)
    rename = blocking(tenants.rename_tenant)
    suspend = blocking(tenants.suspend_tenant)
    resume = blocking(tenants.resume_tenant)
    delete = blocking(tenants.delete_tenant)
    deletion = blocking(tenants.tenant_deletion)


class Members(SyncResource):
    """The people of a tenant."""

    list = blocking(members.list_members)
    get = blocking(members.get_member)
    add = blocking(members.add_member)
    change = blocking(members.change_member)
    disable = blocking(members.disable_member)
    enable = blocking(members.enable_member)


class Shares(SyncResource):
    """Deployments that tenants let each other call."""

    list = blocking(shares.list_shares)
    received = blocking(shares.list_received_shares)
    share = blocking(shares.share)
    revoke = blocking(shares.revoke_share)


class Prices(SyncResource):
    """What usage costs."""

    list = blocking(usage.list_prices)
    add = blocking(usage.add_price)
    end = blocking(usage.end_price)


class RequestLogs(SyncResource):
    """Kept requests, and which are."""

    get_rule = blocking(privacy.get_rule)
    keep = blocking(privacy.keep_requests)
    stop = blocking(privacy.keep_no_requests)
    list = blocking(privacy.list_requests)
    get = blocking(privacy.get_request)
    delete = blocking(privacy.delete_request)
    delete_all = blocking(privacy.delete_requests)


class Retention(SyncResource):
    """How long what is kept."""

    list = blocking(privacy.list_retention)
    set = blocking(privacy.set_retention)
