// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EcdsaSignature} from "contracts/signatures/EcdsaSignature.sol";

/// An example for clients: an account that does what its server key has signed.
///
/// The owner is the address of a server key, which no single machine holds. Whoever has the network's
/// ECDSA signature of `hashOfCall` may hand the call in. The hash is that of typed data (EIP-712): it
/// names this account, its chain and the number of the call, so nothing can be executed twice or
/// elsewhere, and it can be no hash of a transaction.
contract ServerKeyAccount {
    event Executed(uint256 indexed nonce, address indexed target, uint256 value, bytes data);

    error NoServerKey();
    error NotSignedByServerKey();
    error CallFailed(bytes reason);

    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CALL_TYPE =
        keccak256("Call(address target,uint256 value,bytes data,uint256 nonce)");
    bytes32 private constant NAME = keccak256("ServerKeyAccount");
    bytes32 private constant VERSION = keccak256("1");

    /// The address of the server key: the last 20 bytes of the keccak-256 hash of its public.
    address public immutable serverKey;
    /// How many calls have been executed, and the number of the next one.
    uint256 public nonce;

    constructor(address serverKeyAddress) {
        if (serverKeyAddress == address(0)) revert NoServerKey();
        serverKey = serverKeyAddress;
    }

    receive() external payable {}

    /// Executes the next call, for anybody who has its signature, and gives back what it returned.
    ///
    /// A call that fails changes nothing and stays signed, so nobody can spend its number by giving
    /// it too little gas; it is void once another call with the same number is executed.
    function execute(address target, uint256 value, bytes calldata data, bytes calldata signature)
        external
        returns (bytes memory)
    {
        if (!EcdsaSignature.isBy(serverKey, hashOfCall(target, value, data), signature)) {
            revert NotSignedByServerKey();
        }
        emit Executed(nonce, target, value, data);
        nonce += 1;
        (bool succeeded, bytes memory result) = target.call{value: value}(data);
        if (!succeeded) revert CallFailed(result);
        return result;
    }

    /// What the server key has to sign to let this be the next call.
    function hashOfCall(address target, uint256 value, bytes calldata data) public view returns (bytes32) {
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPE, NAME, VERSION, block.chainid, address(this)));
        bytes32 call = keccak256(abi.encode(CALL_TYPE, target, value, keccak256(data), nonce));
        return keccak256(abi.encodePacked(hex"1901", domain, call));
    }
}
