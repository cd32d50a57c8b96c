"""Search: trees and planners over any model that answers an action with what comes of it."""
