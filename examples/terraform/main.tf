# The application that the program signs in as, its trust in a repository on GitHub, and its role.
#
#   export ARM_SUBSCRIPTION_ID=YOUR-SUBSCRIPTION
#   terraform init
#   terraform apply -var repository=OWNER/REPOSITORY -var scope=/subscriptions/YOUR-SUBSCRIPTION
#
# The outputs are AZURE_TENANT_ID and AZURE_CLIENT_ID. No secret is made, so none is in the state. You need the right to register
# applications, and to assign roles at the scope. This is checked for its format only: it was not applied to a live tenant.
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
  description = "The repository on GitHub whose workflows may sign in, as OWNER/REPOSITORY."
  type        = string
}

variable "branch" {
  description = "The branch that these workflows run on. Scheduled workflows run on the default branch."
  type        = string
  default     = "main"
}

variable "scope" {
  description = "What the application may read: /subscriptions/ID, or /providers/Microsoft.Management/managementGroups/NAME."
  type        = string
}

variable "custom_role" {
  description = "Assign the role of ../azure/role.json and not Reader."
  type        = bool
  default     = false
}

provider "azuread" {}

provider "azurerm" {
  features {}
  # Nothing is created that needs a resource provider.
  resource_provider_registrations = "none"
}

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

locals {
  role = jsondecode(file("${path.module}/../azure/role.json"))
}

resource "azurerm_role_definition" "sync" {
  count = var.custom_role ? 1 : 0

  name              = local.role.Name
  description       = local.role.Description
  scope             = var.scope
  assignable_scopes = [var.scope]

  permissions {
    actions          = local.role.Actions
    not_actions      = local.role.NotActions
    data_actions     = local.role.DataActions
    not_data_actions = local.role.NotDataActions
  }
}

resource "azurerm_role_assignment" "sync" {
  scope                = var.scope
  role_definition_name = var.custom_role ? null : "Reader"
  role_definition_id   = var.custom_role ? azurerm_role_definition.sync[0].role_definition_resource_id : null
  principal_id         = azuread_service_principal.sync.object_id
  principal_type       = "ServicePrincipal"
}

output "azure_tenant_id" {
  value = azuread_service_principal.sync.application_tenant_id
}

output "azure_client_id" {
  value = azuread_application.sync.client_id
}
