// The application that the program signs in as, its trust in a repository on GitHub, and its role in one subscription.
//
//   az deployment sub create --location westeurope --template-file main.bicep --parameters repository=OWNER/REPOSITORY
//
// The outputs are AZURE_TENANT_ID and AZURE_CLIENT_ID. No secret is made. You need the right to register applications, and to assign
// roles in the subscription. For more subscriptions, deploy it in each: the application stays the same one. It needs Bicep 0.36 or
// later, which downloads the extension below. It was not compiled with Bicep's own tool, and not deployed to a live tenant.
targetScope = 'subscription'

extension 'br:mcr.microsoft.com/bicep/extensions/microsoftgraph/v1.0:1.0.0'

@description('The repository on GitHub whose workflows may sign in, as OWNER/REPOSITORY.')
param repository string

@description('The branch that these workflows run on. Scheduled workflows run on the default branch.')
param branch string = 'main'

@description('Assign the role of ../azure/role.json and not Reader.')
param customRole bool = false

var name = 'azure-incremental'
var role = loadJsonContent('../azure/role.json')
var roleId = customRole ? guid(subscription().id, name) : 'acdd72a7-3385-48ef-bd42-f606fba81ae7' // Reader

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: name
  displayName: name

  resource github 'federatedIdentityCredentials@v1.0' = {
    name: '${name}/github'
    issuer: 'https://token.actions.githubusercontent.com'
    audiences: ['api://AzureADTokenExchange']
    subject: 'repo:${repository}:ref:refs/heads/${branch}'
  }
}

resource principal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
}

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (customRole) {
  name: guid(subscription().id, name)
  properties: {
    roleName: '${role.Name} ${subscription().subscriptionId}'
    description: role.Description
    type: 'CustomRole'
    permissions: [
      {
        actions: role.Actions
        notActions: role.NotActions
        dataActions: role.DataActions
        notDataActions: role.NotDataActions
      }
    ]
    assignableScopes: [subscription().id]
  }
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, name, roleId)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleId)
    principalId: principal.id
    principalType: 'ServicePrincipal'
  }
  dependsOn: [definition]
}

output azureTenantId string = tenant().tenantId
output azureClientId string = application.appId
