"""What the services over HTTP share: the reward server and the app.

serve       address, token and the server's process
guard       hosts, and bodies that are too large or slow
errors      answers to requests that cannot be answered, {"error": "one line"}
"""
