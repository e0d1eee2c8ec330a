"""What the services over HTTP share: the reward server and the app.

serve       address, token and the server's process
guard       requests that are refused by their headers
bodies      bodies that are too large or arrive too slowly
patience    requests that do not arrive
errors      answers to requests that cannot be answered, {"error": "one line"}
"""
