// The application that azure-incremental signs in as, without a secret: a federated credential for a repository on GitHub, and the
// Reader role on the subscription that this is deployed to.
//
//   az deployment sub create --location westeurope --template-file main.bicep --parameters repository=OWNER/REPOSITORY
//
// Then set its outputs as AZURE_TENANT_ID and AZURE_CLIENT_ID, variables of the repository. For more subscriptions, deploy it to each
// of them: the application stays the same one.
targetScope = 'subscription'

extension microsoftGraphV1

@description('The repository whose workflows sign in: OWNER/REPOSITORY.')
param repository string

@description('The branch whose workflows sign in; scheduled workflows run on the default branch.')
param branch string = 'main'

// Reader: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var reader = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'acdd72a7-3385-48ef-bd42-f606fba81ae7')

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: 'azure-incremental'
  displayName: 'azure-incremental'

  resource github 'federatedIdentityCredentials@v1.0' = {
    name: '${application.uniqueName}/github'
    issuer: 'https://token.actions.githubusercontent.com'
    audiences: ['api://AzureADTokenExchange']
    subject: 'repo:${repository}:ref:refs/heads/${branch}'
  }
}

resource principal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, 'azure-incremental', reader)
  properties: {
    roleDefinitionId: reader
    principalId: principal.id
    principalType: 'ServicePrincipal'
  }
}

output azureTenantId string = tenant().tenantId
output azureClientId string = application.appId
