"""Any language model behind an OpenAI-compatible endpoint: structured output, checked, cached, logged."""

from terrascope.llm.calls import Usage, summarize
from terrascope.llm.endpoint import Endpoint, Reply, Said, Turn
from terrascope.llm.failures import NoReply, Reason

__all__ = ["Endpoint", "NoReply", "Reason", "Reply", "Said", "Turn", "Usage", "summarize"]
