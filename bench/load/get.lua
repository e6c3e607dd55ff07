-- One path, again and again; the environment names it.
function request()
  return wrk.format("GET", os.getenv("GET_PATH"))
end
