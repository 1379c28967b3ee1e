// Every 15 minutes as a job of Azure Container Apps, signed in with a managed identity, without an Azure secret.
//
//   az group create --name azure-incremental --location westeurope
//   az deployment group create --resource-group azure-incremental --template-file main.bicep
//     (it asks for the webhook's URL, so the URL is in no shell history and no process list)
//
// Then let the identity read, on a management group for all subscriptions in it, later ones too:
//
//   az role assignment create --role Reader \
//     --assignee-object-id "$(az identity show --resource-group azure-incremental --name azure-incremental --query principalId --output tsv)" \
//     --assignee-principal-type ServicePrincipal --scope /providers/Microsoft.Management/managementGroups/GROUP
//
// or with --scope /subscriptions/ID for one. The first run has no checkpoint, so it reads everything. To start it now:
//
//   az containerapp job start --resource-group azure-incremental --name azure-incremental
targetScope = 'resourceGroup'

@description('URL of Port\'s webhook; it contains the webhook\'s key.')
@secure()
param portWebhookIngestUrl string

@description('Secret of Port\'s webhook; signs every post. If empty, nothing is signed.')
@secure()
param portWebhookSecret string = ''

param location string = resourceGroup().location
param name string = 'azure-incremental'
param image string = 'ghcr.io/azure-incremental/azure-incremental:0.1.0'

@description('Sync only these resource types, comma-separated. If empty, all.')
param resourceTypes string = ''

@description('Sync only resource groups with these tags, as JSON. If empty, all.')
param resourceGroupTagFilters string = ''

// Name of the share, of its mount in the environment, and of the job's volume.
var state = 'state'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
}

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: name
  location: location
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
  }
}

// The checkpoint is on a share, as a container's own files are gone when it ends.
resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: 'azinc${uniqueString(resourceGroup().id, name)}'
  location: location
  sku: { name: 'Standard_LRS' }
  kind: 'StorageV2'
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
  }

  resource files 'fileServices' = {
    name: 'default'

    resource share 'shares' = {
      name: state
      properties: { shareQuota: 1 }
    }
  }
}

resource environment 'Microsoft.App/managedEnvironments@2024-03-01' = {
  name: name
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: logs.properties.customerId
        sharedKey: logs.listKeys().primarySharedKey
      }
    }
  }

  resource mount 'storages' = {
    name: state
    properties: {
      azureFile: {
        accountName: storage.name
        accountKey: storage.listKeys().keys[0].value
        shareName: state
        accessMode: 'ReadWrite'
      }
    }
    dependsOn: [storage::files::share]
  }
}

// A job's secret must not be empty, so it is left out if it is not given.
var signing = !empty(portWebhookSecret)

resource job 'Microsoft.App/jobs@2024-03-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    environmentId: environment.id
    configuration: {
      triggerType: 'Schedule'
      // A run stops cleanly (RUN_TIMEOUT_SECONDS) before the next one is due, so no two run at once. A run that is cut short
      // continues in the next one.
      replicaTimeout: 900
      // The next tick is the next attempt.
      replicaRetryLimit: 0
      scheduleTriggerConfig: {
        cronExpression: '*/15 * * * *'
        parallelism: 1
        replicaCompletionCount: 1
      }
      secrets: concat(
        [{ name: 'port-webhook-ingest-url', value: portWebhookIngestUrl }],
        signing ? [{ name: 'port-webhook-secret', value: portWebhookSecret }] : []
      )
    }
    template: {
      containers: [
        {
          name: 'azure-incremental'
          image: image
          resources: { cpu: json('0.25'), memory: '0.5Gi' }
          env: concat(
            [
              { name: 'AZURE_CREDENTIAL', value: 'managed-identity' }
              { name: 'AZURE_CLIENT_ID', value: identity.properties.clientId }
              { name: 'PORT_WEBHOOK_INGEST_URL', secretRef: 'port-webhook-ingest-url' }
              { name: 'RESOURCE_TYPES', value: resourceTypes }
              { name: 'RESOURCE_GROUP_TAG_FILTERS', value: resourceGroupTagFilters }
              { name: 'CHECKPOINT_FILE', value: '/var/lib/azure-incremental/checkpoint.redb' }
              { name: 'RUN_TIMEOUT_SECONDS', value: '840' }
              { name: 'LOG_FORMAT', value: 'json' }
            ],
            signing ? [{ name: 'PORT_WEBHOOK_SECRET', secretRef: 'port-webhook-secret' }] : []
          )
          volumeMounts: [{ volumeName: state, mountPath: '/var/lib/azure-incremental' }]
        }
      ]
      volumes: [
        {
          name: state
          storageType: 'AzureFile'
          storageName: state
          // The image's user owns the files, and nobody else can read them.
          mountOptions: 'uid=65532,gid=65532,dir_mode=0700,file_mode=0600'
        }
      ]
    }
  }
  dependsOn: [environment::mount]
}

output principalId string = identity.properties.principalId
