# The application that azure-incremental signs in as, without a secret: a federated credential for a repository on GitHub, and a role
# on a management group or on subscriptions.
#
#   terraform init
#   terraform apply -var repository=OWNER/REPOSITORY -var subscription_id=ID -var 'scopes=["/subscriptions/ID"]'
#
# Then set its outputs as AZURE_TENANT_ID and AZURE_CLIENT_ID, variables of the repository. Whoever applies it must be allowed to create
# applications, and to assign roles in the scopes.
terraform {
  required_version = ">= 1.5"
  required_providers {
    azuread = {
      source  = "hashicorp/azuread"
      version = "~> 3.0"
    }
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.0"
    }
  }
}

variable "repository" {
  description = "The repository whose workflows sign in: OWNER/REPOSITORY."
  type        = string
}

variable "branch" {
  description = "The branch whose workflows sign in; scheduled workflows run on the default branch."
  type        = string
  default     = "main"
}

variable "scopes" {
  description = "What may be read: ids of management groups (/providers/Microsoft.Management/managementGroups/NAME) or subscriptions (/subscriptions/ID)."
  type        = set(string)
}

variable "subscription_id" {
  description = "Any subscription of the tenant: the provider needs one."
  type        = string
}

provider "azuread" {}

provider "azurerm" {
  features {}
  subscription_id = var.subscription_id
}

data "azuread_client_config" "current" {}

resource "azuread_application" "sync" {
  display_name = "azure-incremental"
}

resource "azuread_service_principal" "sync" {
  client_id = azuread_application.sync.client_id
}

resource "azuread_application_federated_identity_credential" "github" {
  application_id = azuread_application.sync.id
  display_name   = "github"
  issuer         = "https://token.actions.githubusercontent.com"
  audiences      = ["api://AzureADTokenExchange"]
  subject        = "repo:${var.repository}:ref:refs/heads/${var.branch}"
}

resource "azurerm_role_assignment" "reader" {
  for_each             = var.scopes
  scope                = each.value
  role_definition_name = "Reader"
  principal_id         = azuread_service_principal.sync.object_id
  principal_type       = "ServicePrincipal"
}

output "azure_tenant_id" {
  value = data.azuread_client_config.current.tenant_id
}

output "azure_client_id" {
  value = azuread_application.sync.client_id
}
