"""Groups of async methods, such as `await client.models.list()`."""

from __future__ import annotations

from modelry.client.methods import AsyncResource, awaitable
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


class AsyncModels(AsyncResource):
    """Models."""

    list = awaitable(models.list_models)
    get = awaitable(models.get_model)
    delete = awaitable(models.delete_model)


class AsyncVersions(AsyncResource):
    """Versions of models."""

    list = awaitable(models.list_versions)
    get = awaitable(models.get_version)
    delete = awaitable(models.delete_version)


class AsyncAliases(AsyncResource):
    """Aliases of versions."""

    list = awaitable(aliases.list_aliases)
    set = awaitable(aliases.set_alias)
    delete = awaitable(aliases.delete_alias)
    moves = awaitable(aliases.list_alias_moves)


class AsyncDatasets(AsyncResource):
    """Datasets and their versions."""

    import_ = awaitable(datasets.import_files)
    start_import = awaitable(datasets.start_import)
    from_arrays = awaitable(datasets.from_arrays)
    derive = awaitable(datasets.derive)
    start_derive = awaitable(datasets.start_derive)
    await_version = awaitable(datasets.await_version)
    list = awaitable(datasets.list_datasets)
    versions = awaitable(datasets.list_dataset_versions)
    get = awaitable(datasets.get_dataset)
    rows = awaitable(datasets.read_rows)
    delete = awaitable(datasets.delete_dataset)


class AsyncDeployments(AsyncResource):
    """Deployments and their replicas."""

    list = awaitable(deployments.list_deployments)
    get = awaitable(deployments.get_deployment)
    deploy = awaitable(deployments.deploy)
    delete = awaitable(deployments.undeploy)
    scale = awaitable(deployments.scale)
    load = awaitable(deployments.load)
    unload = awaitable(deployments.unload)
    restart = awaitable(deployments.restart)
    replicas = awaitable(deployments.list_replicas)
    logs = awaitable(deployments.logs)


class AsyncKeys(AsyncResource):
    """API keys."""

    list = awaitable(keys.list_keys)
    get = awaitable(keys.get_key)
    create = awaitable(keys.create_key)
    rename = awaitable(keys.rename_key)
    rotate = awaitable(keys.rotate_key)
    revoke = awaitable(keys.revoke_key)
    whoami = awaitable(keys.whoami)


class AsyncEncryption(AsyncResource):
    """How what the server keeps is encrypted."""

    status = awaitable(encryption.encryption_status)
    rotate = awaitable(encryption.rotate_encryption)


class AsyncQuotas(AsyncResource):
    """How much may be used."""

    mine = awaitable(quotas.my_quotas)
    of_keys = awaitable(quotas.key_limits)
    set_key = awaitable(quotas.set_key_limits)
    clear_key = awaitable(quotas.clear_key_limits)
    tenant = awaitable(quotas.tenant_limits)
    set_tenant = awaitable(quotas.set_tenant_limits)


class AsyncAudit(AsyncResource):
    """The audit log."""

    list = awaitable(audit.list_entries)
    head = awaitable(audit.read_head)
    verify = awaitable(audit.verify)


class AsyncTenants(AsyncResource):
    """The platform's tenants."""

    own = awaitable(tenants.own_tenant)
    list = awaitable(tenants.list_tenants)
    get = awaitable(tenants.get_tenant)
    create = awaitable(tenants.create_tenant)
    rename = awaitable(tenants.rename_tenant)
    suspend = awaitable(tenants.suspend_tenant)
    resume = awaitable(tenants.resume_tenant)
    delete = awaitable(tenants.delete_tenant)
    deletion = awaitable(tenants.tenant_deletion)


class AsyncMembers(AsyncResource):
    """The people of a tenant."""

    list = awaitable(members.list_members)
    get = awaitable(members.get_member)
    add = awaitable(members.add_member)
    change = awaitable(members.change_member)
    disable = awaitable(members.disable_member)
    enable = awaitable(members.enable_member)


class AsyncShares(AsyncResource):
    """Deployments that tenants let each other call."""

    list = awaitable(shares.list_shares)
    received = awaitable(shares.list_received_shares)
    share = awaitable(shares.share)
    revoke = awaitable(shares.revoke_share)


class AsyncPrices(AsyncResource):
    """What usage costs."""

    list = awaitable(usage.list_prices)
    add = awaitable(usage.add_price)
    end = awaitable(usage.end_price)


class AsyncRequestLogs(AsyncResource):
    """Kept requests, and which are."""

    get_rule = awaitable(privacy.get_rule)
    keep = awaitable(privacy.keep_requests)
    stop = awaitable(privacy.keep_no_requests)
    list = awaitable(privacy.list_requests)
    get = awaitable(privacy.get_request)
    delete = awaitable(privacy.delete_request)
    delete_all = awaitable(privacy.delete_requests)


class AsyncRetention(AsyncResource):
    """How long what is kept."""

    list = awaitable(privacy.list_retention)
    set = awaitable(privacy.set_retention)
